import numpy as np
import pytest

from pipeline.search.exact_topk import (
    PAIRS_AT_ONCE,
    exact_scores,
    near_pairs,
    pair_scores,
    shard_topk,
)


@pytest.fixture
def shard():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.arange(1000, 1400), vectors


def test_best_first_rows_are_the_true_ones(shard):
    ids, vectors = shard
    part = shard_topk(vectors[:9], ids, vectors, 12, shard=3)
    scores = vectors[:9].astype(np.float64) @ vectors.T.astype(np.float64)
    for query in range(9):
        assert set(part.ids[query]) == set(ids[np.argsort(-scores[query])[:12]])
    assert part.shard == 3
    assert part.cutoff == pytest.approx(np.sort(scores, axis=1)[:, -12], abs=1e-6)


def test_a_whole_shard_leaves_nothing_out(shard):
    ids, vectors = shard
    part = shard_topk(vectors[:2], ids, vectors, 1000, shard=0)
    assert part.ids.shape == (2, 400)
    assert np.isneginf(part.cutoff).all()


def test_an_empty_shard_gives_nothing(shard):
    ids, vectors = shard
    part = shard_topk(vectors[:2], ids[:0], vectors[:0], 10, shard=0)
    assert part.ids.shape == part.scores.shape == (2, 0)
    assert np.isneginf(part.cutoff).all()


def test_scores_do_not_depend_on_how_many_pairs_are_scored_at_once(shard, monkeypatch):
    ids, vectors = shard
    assert PAIRS_AT_ONCE > 12
    whole = shard_topk(vectors[:50], ids, vectors, 12, shard=0)
    monkeypatch.setattr("pipeline.search.exact_topk.PAIRS_AT_ONCE", 13)
    assert np.array_equal(
        np.sort(whole.scores), np.sort(shard_topk(vectors[:50], ids, vectors, 12, 0).scores)
    )
    assert np.array_equal(
        np.sort(whole.scores[0]),
        np.sort(exact_scores(vectors[:1], vectors[None, whole.ids[0] - 1000])[0]),
    )


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 7, 500])
def test_the_best_pairs_are_among_those_that_float32_leaves(k):
    """Many vectors that differ by less than float32 can tell, some that are equal, and others."""
    rng = np.random.default_rng(0)
    left, others = unit(rng.normal(size=(5, 300))), unit(rng.normal(size=(200, 300)))
    close = unit(np.repeat(left, 40, axis=0) + 1e-4 * others)
    right = np.concatenate([close, close[:50], others])
    one = np.repeat([3, 0, 4], len(right))
    other = np.concatenate([rng.permutation(len(right)) for _ in range(3)])
    near = near_pairs(left, one, right, other, k)
    scores = pair_scores(left, one, right, other)
    for row in (0, 3, 4):
        mine = np.flatnonzero(one == row)
        least = np.sort(scores[mine])[::-1][:k][-1]
        assert set(mine[scores[mine] >= least]) <= set(near.tolist())
    assert (len(near) < len(one) / 2) == (k < 500)
