import numpy as np
import pytest

from pipeline.cascade.calibration import draw_neighbours, draw_samples
from pipeline.core.errors import InputError


def circle(count):
    """Unit vectors at growing angles: row 0's neighbours in order are 1, 2, 3, ..."""
    angles = np.cumsum(np.linspace(0.001, 0.01, count))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def drawn_ranks(k, share):
    """How near the drawn rows are, over many rows: 0 the nearest."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(600, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(600)
    targets = draw_neighbours(vectors, k, share, rows)
    scores = vectors @ vectors.T
    return (scores > scores[rows, targets][:, None]).sum(axis=1) - 1


def test_of_the_whole_collection_each_of_the_k_nearest_is_drawn_alike():
    counts = np.bincount(drawn_ranks(5, 1.0), minlength=5)
    assert len(counts) == 5
    assert counts.min() > 80


def test_of_a_tiny_sample_it_is_the_nearest():
    assert not drawn_ranks(5, 0.0).any()


def test_as_many_of_the_sample_are_nearer_as_of_a_share_of_the_collection():
    ranks = drawn_ranks(11, 0.4)
    assert ranks.mean() == pytest.approx(5 * 0.4, abs=0.25)
    assert ranks.max() > 4


def test_a_group_is_no_neighbour_and_a_large_k_draws_what_there_is():
    vectors, group = circle(6), np.array([0, 0, 1, 2, 3, 4])
    assert draw_neighbours(vectors, 1, 1.0, group)[0] == 2
    assert set(draw_neighbours(vectors, 1000, 1.0, group).tolist()) <= set(range(6))


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
