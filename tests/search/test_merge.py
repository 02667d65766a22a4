import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search.exact_topk import ShardTopK, exact_scores, shard_topk
from pipeline.search.merge import SPARE, CertifiedMerge, search_certified

EXTREMES = np.array([-(2**63), 2**63 - 1])


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def collection(seed, distinct, rows, dimensions):
    """Rows drawn from a few distinct vectors, so that most have exact duplicates."""
    rng = np.random.default_rng(seed)
    pool = unit(rng.normal(size=(distinct, dimensions)))
    vectors = pool[rng.integers(distinct, size=rows)]
    ids = rng.permutation(rows * 3)[:rows].astype(np.int64) - rows
    ids[:2] = EXTREMES[:rows]
    queries = np.concatenate([pool[:3], unit(rng.normal(size=(4, dimensions)))])
    return queries, ids, vectors


def layouts(rows):
    for shards in (1, 2, 8, 64):
        yield np.array_split(np.arange(rows), shards)
        yield [np.arange(rows)[start::shards] for start in range(shards)]


def search(queries, ids, vectors, shards, k, order=1):
    def ask(rows, depth):
        for number, members in list(enumerate(shards))[::order]:
            yield shard_topk(queries[rows], ids[members], vectors[members], depth, number)

    return search_certified(ask, len(queries), k)


def truth(queries, ids, vectors, k):
    scores = exact_scores(queries, np.broadcast_to(vectors, (len(queries), *vectors.shape)))
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=1)[:, :k]
    return ids[order], np.take_along_axis(scores, order, axis=1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    distinct=st.integers(1, 40),
    rows=st.integers(1, 300),
    k=st.integers(1, 20),
    dimensions=st.sampled_from([4, 33, 128]),
)
def test_same_bits_for_any_shards(seed, distinct, rows, k, dimensions):
    queries, ids, vectors = collection(seed, distinct, rows, dimensions)
    ids_wanted, scores_wanted = truth(queries, ids, vectors, k)
    for shards in layouts(rows):
        merged = search(queries, ids, vectors, shards, k)
        there = ids_wanted.shape[1]
        assert np.array_equal(merged.ids[:, :there], ids_wanted)
        assert np.array_equal(merged.scores[:, :there], scores_wanted)
        assert np.isneginf(merged.scores[:, there:]).all()


def test_order_of_arrival_does_not_matter():
    queries, ids, vectors = collection(5, 10, 200, 16)
    shards = np.array_split(np.arange(200), 8)
    forward = search(queries, ids, vectors, shards, 10)
    backward = search(queries, ids, vectors, shards, 10, order=-1)
    assert np.array_equal(forward.ids, backward.ids)
    assert np.array_equal(forward.scores, backward.scores)


def test_more_equal_images_than_the_depth_are_asked_for_deeper():
    k, copies = 5, 40 * (5 + SPARE)
    vectors = np.repeat(unit(np.ones((1, 8))), copies, axis=0)
    ids = np.arange(copies, dtype=np.int64)[::-1].copy()
    depths = []

    def ask(rows, depth):
        depths.append(depth)
        yield shard_topk(vectors[:1], ids, vectors, depth, 0)

    merged = search_certified(ask, 1, k)
    assert merged.ids.tolist() == [[0, 1, 2, 3, 4]]
    assert depths[0] == k + SPARE
    assert depths[-1] >= copies


@pytest.mark.parametrize(("gap", "certified"), [(1e-6, False), (3e-6, True)])
def test_a_query_is_certified_only_beyond_the_margin(gap, certified):
    merge = CertifiedMerge(1, 1)
    score = 0.5
    merge.add(ShardTopK(0, np.array([[7]]), np.array([[score]]), np.array([score - gap])))
    assert merge.result().certified.tolist() == [certified]


def test_a_score_has_the_same_bits_in_any_batch():
    rng = np.random.default_rng(1)
    queries = unit(rng.normal(size=(300, 1280)))
    vectors = unit(rng.normal(size=(50, 1280)))
    together = exact_scores(queries, np.broadcast_to(vectors, (300, 50, 1280)))
    for query in (0, 123, 299):
        for row in (0, 49):
            alone = exact_scores(queries[query : query + 1], vectors[None, row : row + 1])
            assert alone[0, 0] == together[query, row]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 5, 1000]),
    widths=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    k=st.integers(1, 12),
)
def test_merging_part_by_part_is_one_sort_of_everything(seed, levels, widths, k):
    """Unsorted parts of any width, full of ties, with and without their best scores told."""
    rng = np.random.default_rng(seed)
    merge, ids, scores = CertifiedMerge(4, k), [], []
    for shard, width in enumerate(widths):
        ids.append(rng.integers(0, 500, (4, width)) * 100 + shard)
        scores.append(rng.integers(-levels, levels, (4, width)) / levels)
        best = scores[-1].max(axis=1, initial=-np.inf) if shard % 2 else None
        merge.add(ShardTopK(shard, ids[-1], scores[-1], np.full(4, -np.inf), best))
    every, value = np.concatenate(ids, axis=1), np.concatenate(scores, axis=1)
    order = np.lexsort((every, -value), axis=1)[:, :k]
    merged, there = merge.result(), order.shape[1]
    assert np.array_equal(merged.ids[:, :there], np.take_along_axis(every, order, axis=1))
    assert np.array_equal(merged.scores[:, :there], np.take_along_axis(value, order, axis=1))
    assert np.isneginf(merged.scores[:, there:]).all()
