from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.index.evidence import (
    Bounds,
    Evidence,
    Trials,
    attach_evidence,
    neighbour_places,
    read_bounds,
    read_evidence,
)
from pipeline.index.grid import Grid
from pipeline.index.probes import Work, choose_probes, choose_work, probe_recall, work_recall


def test_a_place_is_the_rank_of_the_neighbours_bucket():
    grid = Grid(np.eye(4, dtype=np.float32), np.empty((0, 0), np.float32), np.empty(0, np.float32))
    query = np.array([[0.1, 0.9, 0.5, 0.3]], np.float32)
    assert neighbour_places(grid, query, np.array([[1, 2, 3, 0, -1]])).tolist() == [
        [0, 1, 2, 3, -1]
    ]


def test_recall_counts_all_neighbours_and_the_bound_one_a_query():
    places = np.array([[0, 5]] * 40_000 + [[0, -1]] * 10_000)
    (seen,) = probe_recall(places, np.array([1]), Bounds(0.95))
    assert seen.recall == 50_000 / 90_000
    assert seen.queries == 50_000
    assert 0.58 < seen.low < 0.61  # 40,000 draws of which half hit, and 10,000 that all do
    (whole,) = probe_recall(places, np.array([6]), Bounds(0.95))
    assert whole.recall == 1
    assert whole.low == beta.ppf(0.05, 50_000, 1)


def test_chosen_probes_keep_their_word_on_new_queries():
    """Places drawn geometrically: the true recall of p probes is 1 - q^p."""
    kept, rng = 0, np.random.default_rng(0)
    for _ in range(200):
        places = np.minimum(rng.geometric(0.3, size=(600, 10)) - 1, 63)
        chosen = choose_probes(places, 64, 0.95, Bounds(0.9))
        kept += 1 - 0.7**chosen >= 0.95
        assert chosen < 64
    assert kept >= 200 * 0.85


def test_too_few_queries_to_know_means_everything():
    places = np.zeros((20, 10), np.int32)
    assert choose_probes(places, 64, 0.99, Bounds(0.95)) is None
    few = Evidence(places, np.zeros((20, 10), np.int64), np.ones(20), 5000)
    assert choose_work([few], 64, 128, 0.99, Bounds(0.95)) == Work(64, 5000)
    assert work_recall(few, Work(64, 5000), Bounds(0.95)).recall == 1


@pytest.mark.parametrize("dimensions", [16, 4096])
def test_the_work_that_reads_the_fewest_bytes_is_chosen(dimensions):
    """Half of the neighbours lie in the first bucket, half in the tenth; ranks go up to 99."""
    rng = np.random.default_rng(0)
    places = rng.choice([0, 9], size=(4000, 10)).astype(np.int32)
    evidence = Evidence(places, rng.integers(100, size=(4000, 10)), np.ones(4000), 100_000)
    work = choose_work([evidence], 100, dimensions, 0.75, Bounds(0.95))
    assert work.probes == 10
    assert work.candidates == 80
    assert work_recall(evidence, work, Bounds(0.95)).recall == pytest.approx(0.8, abs=0.01)
    assert work_recall(evidence, Work(1, 50), Bounds(0.95)).recall == pytest.approx(0.25, abs=0.01)


def test_the_recall_of_each_fifth_by_difficulty_is_told_where_it_is_known():
    places = np.arange(1000)[:, None] // 100 + np.array([[0, 10]])
    difficulty = np.arange(1000.0)
    none = np.zeros((1000, 1), np.int64)
    trials = Trials(none, difficulty, none, none, none)
    mine = Evidence(places, np.zeros_like(places), np.ones(1000), 5000, trials=trials)
    seen = work_recall(mine, Work(5, 10), Bounds(0.95))
    assert seen.fifths == (0.5, 0.5, 0.25, 0, 0)
    assert work_recall(replace(mine, trials=None), Work(5, 10), Bounds(0.95)).fifths == ()


def test_one_work_for_all_is_enough_for_each_fifth():
    """The neighbours of the hardest fifth lie in ten buckets alike, all others in the first."""
    rng = np.random.default_rng(0)
    hard = np.arange(4000)[:, None] >= 3200
    places = np.where(hard, rng.integers(10, size=(4000, 10)), 0).astype(np.int32)
    none = np.zeros((4000, 1), np.int64)
    trials = Trials(none, np.arange(4000.0), none, none, none)
    assert choose_probes(places, 64, 0.9, Bounds(0.95)) <= 7
    assert choose_probes(places, 64, 0.85, Bounds(0.95), True, trials) == 9
    assert choose_probes(places[:, :1], 64, 0.99, Bounds(0.95), True, trials) == 10


def test_the_bound_told_is_no_higher_than_the_share():
    """Of queries with one neighbour all is found, of those with ten half: a draw finds most."""
    places = np.full((1000, 10), -1, np.int32)
    places[:900, 0], places[900:] = 0, [0] * 5 + [9] * 5
    seen = work_recall(Evidence(places, places, np.ones(1000), 5000), Work(5, 10), Bounds(0.95))
    assert probe_recall(places, np.array([5]), Bounds(0.95))[0].low > 0.9
    assert seen.recall == 1400 / 1900 == seen.low


def group(probes, queries, added):
    """Neighbours that lie in the first so many buckets alike."""
    places = np.random.default_rng(queries).integers(probes, size=(queries, 10)).astype(np.int32)
    return Evidence(places, np.zeros((queries, 10), np.int64), np.ones(queries), 5000, 4000, added)


@pytest.mark.parametrize("queries", [20, 400])  # so few prove nothing of themselves, or enough
def test_images_added_since_get_their_recall_too(queries):
    first, added = group(5, 4000, False), group(60, queries, True)
    bounds = Bounds(0.95)
    alone = choose_work([first], 64, 128, 0.9, bounds)
    assert work_recall(added, alone, bounds).recall < 0.15
    both = choose_work([first, added], 64, 128, 0.9, bounds)
    assert both.probes < 64
    assert work_recall(added, both, bounds).recall >= 0.9
    assert work_recall(added, both, bounds).added
    assert (work_recall(added, both, bounds).low >= 0.9) == (queries == 400)


def test_evidence_is_kept_by_group_with_the_bounds_of_its_halves(tmp_path):
    store = Store.create(tmp_path, "index", {})
    groups = [group(5, 30, False), group(9, 7, True)]
    attach_evidence(store, groups, 0.9)
    for kept, given in zip(read_evidence(store), groups, strict=True):
        for name in ("places", "ranks", "nearest", "images", "among", "added"):
            assert np.array_equal(getattr(kept, name), getattr(given, name))
    bounds = read_bounds(store, 0.9)
    assert sorted(bounds.kept) == [3, 4, 15]
    assert np.allclose(bounds.of(15), Bounds(0.9).of(15))
    assert not read_bounds(store, 0.95).kept


def test_an_index_that_was_never_finished_names_what_finishes_it(tmp_path):
    with pytest.raises(InputError, match="is not finished; run sluice index again: it resumes"):
        read_evidence(Store.create(tmp_path, "index", {}))
