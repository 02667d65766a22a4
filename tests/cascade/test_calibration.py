import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.calibration import (
    Calibration,
    draw_samples,
    nearer_weights,
    weighted_neighbours,
)
from pipeline.core.errors import InputError


def circle(count):
    """Unit vectors at growing angles: row 0's neighbours in order are 1, 2, 3, ..."""
    angles = np.cumsum(np.linspace(0.001, 0.01, count))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def neighbours(k, share, rows=600):
    """The ranks, 0 the nearest, of the rows that stand for neighbours (rows, j), and weights."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(rows, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    targets, weights = weighted_neighbours(vectors, k, share, np.arange(rows))
    scores = vectors @ vectors.T
    wanted = np.take_along_axis(scores, targets, axis=1)
    return (scores[:, None, :] > wanted[:, :, None]).sum(axis=2) - 1, weights


def test_of_the_whole_collection_each_of_the_k_nearest_counts_alike():
    ranks, weights = neighbours(5, 1.0)
    assert (ranks == np.arange(5)).all()
    assert weights.tolist() == pytest.approx([0.2] * 5)


def test_of_a_tiny_sample_one_neighbour_is_drawn_mostly_the_nearest():
    ranks, weights = neighbours(5, 0.05)
    assert ranks.shape == (600, 1)
    assert weights.tolist() == [1.0]
    assert 0.02 < (ranks > 0).mean() < 0.2
    assert not neighbours(5, 1e-12)[0].any()


def test_the_weights_are_how_many_of_the_nearer_images_a_sample_holds():
    rng = np.random.default_rng(1)
    nearer = rng.binomial(rng.integers(11, size=100_000), 0.4)
    weights = nearer_weights(11, 0.4)
    counted = np.bincount(nearer, minlength=len(weights)) / len(nearer)
    assert np.abs(counted - weights).max() < 0.006
    assert weights.sum() == pytest.approx(1)


def test_the_rows_lie_at_least_as_far_as_the_neighbours_they_stand_for():
    rng = np.random.default_rng(2)
    share, k, weights = 0.3, 10, nearer_weights(10, 0.3)
    places = np.cumsum(rng.geometric(share, size=(20_000, len(weights))), axis=1)
    within = ((places[:, :, None] <= np.arange(1, 40)) * weights[None, :, None]).sum(axis=1)
    assert (within.mean(axis=0) <= np.minimum(np.arange(1, 40) / k, 1) + 0.005).all()


def test_a_group_is_no_neighbour_and_a_large_k_counts_what_there_is():
    vectors, group = circle(6), np.array([0, 0, 1, 2, 3, 4])
    targets, weights = weighted_neighbours(vectors, 2, 1.0, group)
    assert targets[0].tolist() == [2, 3]
    targets, weights = weighted_neighbours(vectors, 1000, 1.0, group)
    assert targets.shape == (6, 1) or len(weights) == targets.shape[1] <= 4
    assert not (group[targets] == group[:, None]).any()


def test_samples_are_apart_and_depend_on_the_set_of_ids_alone():
    ids = np.arange(1000, 1500)
    fit, sample = draw_samples(ids, 100, 200, seed=0)
    again = draw_samples(ids[::-1], 100, 200, seed=0)
    assert np.array_equal(fit, again[0])
    assert np.array_equal(sample, again[1])
    assert (len(fit), len(sample)) == (100, 200)
    assert not np.intersect1d(fit, sample).size
    assert [len(part) for part in draw_samples(ids, 900, 900, seed=0)] == [250, 250]
    with pytest.raises(InputError, match="too few"):
        draw_samples(ids[:50], 10, 10, seed=0)


def test_a_sample_holds_its_share_of_the_nearest():
    sample = Calibration(None, pa.table({"id": np.arange(700)}), None)
    assert sample.held(10, 100_000) == pytest.approx(0.07)
