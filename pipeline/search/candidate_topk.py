"""The exact top-k of a shard among each query's own candidates."""

from typing import Any

import numpy as np

from pipeline.search.exact_topk import ShardTopK, row_scores


def candidate_topk(
    queries: np.ndarray[Any, Any],
    ids: np.ndarray[Any, Any],
    vectors: np.ndarray[Any, Any],
    allowed: np.ndarray[Any, Any],
    depth: int,
    shard: int,
) -> ShardTopK:
    """Return the ``depth`` best of each query's candidates by inner product.

    queries f32 (q, d); ids int64 (n,); vectors f32 (n, d), rows of unit length; allowed bool
    (q, n). float32 nominates, the fixed float64 kernel scores; the cutoff is the smallest
    nominating score, or -inf where every candidate was returned. Places without a candidate have
    id -1 and score -inf.
    """
    m = min(depth, len(ids))
    nominating = np.where(allowed, queries @ vectors.T, np.float32(-np.inf))
    rows = np.argpartition(-nominating, max(m - 1, 0), axis=1)[:, :m] if m else np.empty((0, 0))
    rows = rows.reshape(len(queries), m).astype(np.int64)
    lowest = np.take_along_axis(nominating, rows, axis=1).min(axis=1, initial=np.inf)
    cutoff = np.where(allowed.sum(axis=1) <= m, -np.inf, lowest).astype(np.float64)
    scores = row_scores(queries, vectors, rows)
    there = np.take_along_axis(allowed, rows, axis=1)
    return ShardTopK(
        shard, np.where(there, ids[rows], -1), np.where(there, scores, -np.inf), cutoff
    )
