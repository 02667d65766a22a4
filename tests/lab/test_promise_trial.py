import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.by_category import ALL, BY_CATEGORY
from pipeline.cascade.planner import StageCosts
from pipeline.core.errors import InputError
from pipeline.lab.promise_trial import (
    PromiseTrials,
    Trial,
    categories_below,
    category_recalls,
    clusters,
    draw_rows,
    labels,
    promise_table,
    spread_table,
    trial_table,
)
from tests.helpers.features import made_samples

COSTS = StageCosts({"signature": 0.001, "rough": 0.5, "cnn": 6.0})
SAMPLES = (150, 400)


@pytest.fixture(scope="module")
def whole():
    return made_samples(700)


@pytest.mark.parametrize("neighbours", ["semantic", "copies"])
def test_the_recall_reached_is_the_one_promised_and_trials_can_be_repeated(whole, neighbours):
    trials = PromiseTrials(*whole, neighbours, 5, np.arange(700) % 3)
    found = list(trials.run(6, SAMPLES, (0.8, 0.999), 0.95, COSTS))
    assert found[:2] == list(trials.run(2, SAMPLES, (0.8, 0.999), 0.95, COSTS))
    kept, refused = zip(*found, strict=True)
    assert sum(trial.given < 0.8 for trial in kept) <= 1
    assert all(trial.stages for trial in kept)
    assert np.median([trial.milliseconds for trial in kept]) < 3
    assert all(0 < trial.cnn < 0.5 for trial in kept)
    assert all(t.worst <= t.given and t.complete + t.below_half <= 1 for t in kept)
    assert {(t.stages, t.given, t.complete, t.cnn) for t in refused} == {(0, 1.0, 1.0, 1.0)}


def test_a_trial_asks_with_images_of_neither_sample_and_fits_anew_every_tenth_time():
    draws = [draw_rows(500, (70, 200), seed) for seed in (0, 9, 10)]
    for fit, sample, rest in draws:
        assert np.array_equal(np.sort(np.concatenate([fit, sample, rest])), np.arange(500))
    fits, samples, _ = zip(*draws, strict=True)
    assert np.array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])
    assert not np.array_equal(samples[0], samples[1])
    with pytest.raises(InputError, match="leave none of 400 images to ask with"):
        draw_rows(400, (200, 300), 0)


def trial(asked, given, cost, stages=1, worst=0.5):
    return Trial(asked, 0.8, given, 0.1, 0.6, worst, int(given < 0.8), 0.25, cost, stages)


def test_the_tables_count_broken_promises_plans_given_up_and_the_spread():
    made = [(0.7, 3.0, 1, 0.3), (0.8, 2.0, 1, 0.5), (1.0, 6.0, 0, 1.0)]
    trials = trial_table([trial(0.8, *of) for of in made] + [trial(0.9, 0.95, 3.0)])
    row, other = promise_table(trials, COSTS).to_pylist()
    assert (row["asked"], row["broken"], row["of"], row["gave up"]) == (0.8, 1, 3, 1)
    assert 0.8 < row["at most"] < 0.9
    assert (row["median"], row["least"], row["speed-up"]) == (0.8, 0.7, 2.0)
    assert row["overshoot"] == pytest.approx(2.5 / 3 - 0.8)
    assert (other["broken"], other["of"]) == (0, 1)
    spread = spread_table(trials).to_pylist()[0]
    assert spread["worst category"] == pytest.approx(0.6)
    assert spread["least of any trial"] == 0.3
    assert spread["a bound broken"] == pytest.approx(1 / 3)


def test_a_category_is_below_its_bound_where_its_queries_got_less():
    category, recalls = np.array([0, 0, 1, 1, 3]), np.array([1.0, 0.8, 0.5, 0.7, 0.1])
    bounds = [("0", 0.89), ("1", 0.61), ("2", 0.9), ("3", None), (ALL, 0.9)]
    proved = pa.Table.from_pylist([{"like": n, "bound": b} for n, b in bounds], BY_CATEGORY)
    assert categories_below(recalls, category, proved) == 1


def test_the_worst_category_is_of_those_that_are_large():
    category = np.array([0] * 60 + [1] * 38 + [2] * 2)
    recalls = np.array([1.0] * 60 + [0.5] * 38 + [0.0] * 2)
    assert category_recalls(recalls, category) == {0: 1.0, 1: 0.5}
    assert category_recalls(recalls, np.arange(100)) == {-1: pytest.approx(0.79)}


def test_categories_are_a_column_or_clusters_of_the_embeddings(whole):
    features = pa.table({"label": ["cat", None, "dog", "cat"]})
    assert labels(features, "label").tolist() == [0, -1, 1, 0]
    with pytest.raises(InputError, match="no column breed"):
        labels(features, "breed")
    with pytest.raises(InputError, match=r"embedding holds fixed_size_list.* single values"):
        labels(whole[0], "embedding")
    found = clusters(whole[0], 4)
    assert np.bincount(found, minlength=4).min() > 30
