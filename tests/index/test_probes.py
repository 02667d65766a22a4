import numpy as np
import pytest
from scipy.stats import beta

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.index.grid import Grid
from pipeline.index.probes import (
    choose_probes,
    neighbour_places,
    probe_recall,
    read_calibration,
)


def test_a_place_is_the_rank_of_the_neighbours_bucket():
    grid = Grid(np.eye(4, dtype=np.float32), np.empty((0, 0), np.float32), np.empty(0, np.float32))
    query = np.array([[0.1, 0.9, 0.5, 0.3]], np.float32)
    assert neighbour_places(grid, query, np.array([[1, 2, 3, 0, -1]])).tolist() == [
        [0, 1, 2, 3, -1]
    ]


def test_recall_counts_all_neighbours_and_the_bound_one_a_query():
    places = np.array([[0, 5]] * 40_000 + [[0, -1]] * 10_000)
    (seen,) = probe_recall(places, np.array([1]), 0.95)
    assert seen.recall == 50_000 / 90_000
    assert seen.queries == 50_000
    assert 0.58 < seen.low < 0.61  # 40,000 draws of which half hit, and 10,000 that all do
    (whole,) = probe_recall(places, np.array([6]), 0.95)
    assert whole.recall == 1
    assert whole.low == beta.ppf(0.05, 50_000, 1)


def test_chosen_probes_keep_their_word_on_new_queries():
    """Places drawn geometrically: the true recall of p probes is 1 - q^p."""
    kept, rng = 0, np.random.default_rng(0)
    for _ in range(200):
        places = np.minimum(rng.geometric(0.3, size=(600, 10)) - 1, 63)
        chosen = choose_probes(places, 64, 0.95, 0.9)
        kept += 1 - 0.7**chosen >= 0.95
        assert chosen < 64
    assert kept >= 200 * 0.85


def test_too_few_queries_to_know_means_all_buckets():
    assert choose_probes(np.zeros((20, 10), int), 64, 0.99, 0.95) == 64


def test_an_index_that_was_never_finished_names_what_finishes_it(tmp_path):
    with pytest.raises(InputError, match="is not finished; run sluice index again: it resumes"):
        read_calibration(Store.create(tmp_path, "index", {}))
