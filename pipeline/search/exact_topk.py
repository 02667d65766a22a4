"""A shard's exact top-k: FAISS finds the candidates, one fixed float64 kernel scores them."""

from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Ids, Mask, Scores, Vectors

# Pairs scored at once, so that no temporary is larger than a few hundred MB.
PAIRS_AT_ONCE = 16_384
# Above the f32 rounding of an inner product of unit vectors of a few thousand dimensions.
MARGIN = 2e-6
# From so many queries on FAISS multiplies matrices; left to itself it takes 128,000 numbers for it,
# and 50 queries of 1,280 take it eight times as long.
MATRIX_QUERIES = 4


@dataclass(frozen=True)
class ShardTopK:
    """The best of one shard for each query: unsorted among equals, re-scored in float64."""

    shard: int
    ids: Ids  # int64 (q, m)
    scores: Scores  # float64 (q, m); -inf: no image is here, whatever its id says
    cutoff: Scores  # float64 (q,): no image left out scores above it, but for rounding
    best: Scores | None = None  # float64 (q,): each row's highest score, if known


def exact_scores(queries: Vectors, vectors: Vectors) -> Scores:
    """Return the inner products float64 (q, m) of f32 queries (q, d) with f32 vectors (q, m, d).

    NumPy sums each row of products pairwise in an order that depends on d alone, so a pair's score
    has the same bits in whatever batch it is computed; BLAS kernels give no such promise.
    """
    products = np.multiply(queries[:, None, :], vectors, dtype=np.float64)
    scores: Scores = products.sum(axis=-1)
    return scores


def row_scores(queries: Vectors, vectors: Vectors, rows: Ids) -> Scores:
    """Return the float64 scores (q, m) of f32 queries (q, d) with their ``rows`` int (q, m).

    The rows are of f32 vectors (n, d); PAIRS_AT_ONCE of them are gathered at once.
    """
    step = max(1, PAIRS_AT_ONCE // max(1, rows.shape[1]))
    scores = np.empty(rows.shape)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        scores[some] = exact_scores(queries[some], vectors[rows[some]])
    return scores


def pair_scores(
    left: Vectors,
    one: Ids,
    right: Vectors,
    other: Ids,
) -> Scores:
    """Return the float64 scores (p,) of rows ``one`` of ``left`` with rows ``other`` of ``right``.

    left f32 (n, d), right f32 (m, d), one and other int (p,). PAIRS_AT_ONCE are gathered at once.
    """
    parts = [np.empty(0)]
    for start in range(0, len(one), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        parts.append(exact_scores(left[one[some]], right[other[some]][:, None])[:, 0])
    return np.concatenate(parts)


def near_pairs(left: Vectors, one: Ids, right: Vectors, other: Ids, k: int) -> Ids:
    """Return the places of pairs that may be among the ``k`` best of their row of ``left``.

    As of pair_scores, all rows of unit length. float32 decides it, and leaves in what its rounding
    might have put out, so that the best by pair_scores are among them.
    """
    rough = np.empty(len(one), np.float32)
    for start in range(0, len(one), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        rough[some] = np.einsum("pd,pd->p", left[one[some]], right[other[some]])
    order = np.lexsort((-rough, one))
    ranked = one[order]
    first = np.searchsorted(ranked, ranked)
    last = np.minimum(first + k, np.searchsorted(ranked, ranked, side="right")) - 1
    least = rough[order[last]] - np.float32(2 * MARGIN)
    near: Ids = order[rough[order] >= least]
    return near


def shard_topk(
    queries: Vectors,
    ids: Ids,
    vectors: Vectors,
    depth: int,
    shard: int,
) -> ShardTopK:
    """Return the ``depth`` best of a shard by inner product, for every query.

    queries f32 (q, d); ids int64 (n,); vectors f32 (n, d), all rows of unit length. The cutoff is
    the smallest FAISS score returned, or -inf where the whole shard was returned.
    """
    m = min(depth, len(ids))
    if m == 0:
        empty = np.empty((len(queries), 0))
        return ShardTopK(shard, empty.astype(np.int64), empty, np.full(len(queries), -np.inf))
    import faiss  # here, for a search by index does without

    faiss.cvar.distance_compute_blas_threshold = MATRIX_QUERIES * vectors.shape[1]
    found, rows = faiss.knn(queries, vectors, m, metric=faiss.METRIC_INNER_PRODUCT)
    whole = m == len(ids)
    cutoff = np.full(len(queries), -np.inf) if whole else found.min(axis=1).astype(np.float64)
    scores = row_scores(queries, vectors, rows)
    return ShardTopK(shard, ids[rows], scores, cutoff, scores.max(axis=1))


def candidate_topk(
    queries: Vectors,
    ids: Ids,
    vectors: Vectors,
    allowed: Mask,
    depth: int,
    shard: int,
) -> ShardTopK:
    """Return the ``depth`` best of each query's candidates by inner product.

    queries f32 (q, d); ids int64 (n,); vectors f32 (n, d), rows of unit length; allowed bool
    (q, n). float32 nominates, the fixed float64 kernel scores; the cutoff is the smallest
    nominating score, or -inf where every candidate was returned. Places without a candidate have
    score -inf.
    """
    m = min(depth, len(ids))
    nominating = np.where(allowed, queries @ vectors.T, np.float32(-np.inf))
    rows = np.argpartition(-nominating, max(m - 1, 0), axis=1)[:, :m] if m else np.empty((0, 0))
    rows = rows.reshape(len(queries), m).astype(np.int64)
    lowest = np.take_along_axis(nominating, rows, axis=1).min(axis=1, initial=np.inf)
    cutoff = np.where(allowed.sum(axis=1) <= m, -np.inf, lowest).astype(np.float64)
    scores = row_scores(queries, vectors, rows)
    there = np.take_along_axis(allowed, rows, axis=1)
    return ShardTopK(shard, ids[rows], np.where(there, scores, -np.inf), cutoff)
