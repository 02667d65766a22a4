import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.index import bucket_lists
from pipeline.index.bucket_lists import BucketLists, probed_topk
from pipeline.index.bucket_scan import scan_topk
from pipeline.search.exact_topk import exact_scores
from pipeline.search.merge import search_certified


def unit(rng, count, dimensions):
    vectors = rng.normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def case(seed, rows, buckets, queries, probes):
    """Vectors in bucket order, a third of them copies, and for each query distinct buckets."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng, rows, 12)
    copied = rng.random(rows) < 0.33
    vectors[copied] = vectors[rng.integers(0, rows, copied.sum())]
    lie = np.sort(rng.integers(0, buckets, rows))
    nearest = np.argsort(rng.random((queries, buckets)), axis=1)[:, :probes].astype(np.int32)
    return vectors, lie.astype(np.int32), unit(rng, queries, 12), nearest


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 120),
    buckets=st.integers(9, 14),
    queries=st.integers(1, 30),
    k=st.integers(1, 12),
    precision=st.sampled_from(["f32", "f16"]),
)
@settings(deadline=None, max_examples=60)
def test_many_queries_at_once_find_what_brute_force_finds(
    seed, rows, buckets, queries, k, precision
):
    vectors, lie, asked, nearest = case(seed, rows, buckets, queries, 9)
    lists, ids = BucketLists(lie, vectors, buckets, precision), np.arange(rows) * 3 + 1
    error = 0.01 if precision == "f16" else 0.0
    before, bucket_lists.QUERIES_A_BUCKET = bucket_lists.QUERIES_A_BUCKET, 0
    try:
        merged = search_certified(
            lambda some, depth: [
                probed_topk(lists, asked[some], nearest[some], ids, vectors, depth, 0, error)
            ],
            queries,
            k,
        )
    finally:
        bucket_lists.QUERIES_A_BUCKET = before
    for row, query in enumerate(asked):
        inside = np.flatnonzero(np.isin(lie, nearest[row]))
        scores = exact_scores(query[None], vectors[None, inside])[0]
        order = np.lexsort((inside, -scores))[:k]
        assert merged.ids[row, : len(order)].tolist() == ids[inside[order]].tolist()
        assert merged.scores[row, : len(order)].tolist() == scores[order].tolist()
        assert np.isneginf(merged.scores[row, len(order) :]).all()


def test_what_lies_below_the_floor_is_left_out():
    vectors, lie, asked, nearest = case(1, 200, 9, 5, 9)
    edges = np.searchsorted(lie, np.arange(10))
    scores, rows = scan_topk(asked, nearest, edges, vectors, np.full(5, 0.3), 50)
    everything = asked.astype(np.float64) @ vectors.T.astype(np.float64)
    assert ((rows >= 0).sum(axis=1) == (everything >= 0.3).sum(axis=1)).all()
    assert scores[rows >= 0].min() >= 0.3 - 1e-6
