"""Many queries at once over vectors in bucket order: each bucket meets all that probe it.

One matrix product a bucket does what FAISS's lists do query by query, and reads each vector once.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Numbers, Scores, Vectors
from pipeline.search.exact_topk import pair_scores

PRODUCTS_AT_ONCE = 2**24  # f32: 64 MiB


def scan_topk(
    queries: Vectors, probes: Numbers, edges: Ids, vectors: Vectors, floor: AnyArray, depth: int
) -> tuple[Scores, Ids]:
    """Return scores float64 and rows int64 (q, depth), best first; -inf and -1 beyond.

    queries f32 (q, d); probes int (q, p), the buckets of each; vectors f32 (n, d), of which bucket
    b holds rows edges[b] to edges[b + 1]; floor (q,): f32 products below it are not looked at.
    Scores are exact_topk's; of equal ones the lower row comes first.
    """
    found = list(_nominated(queries, probes, edges, vectors, floor))
    query, row = np.concatenate([np.empty((2, 0), np.int64), *found], axis=1)
    scores = pair_scores(queries, query, vectors, row)
    order = np.lexsort((row, -scores, query))
    query, row, scores = query[order], row[order], scores[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    kept = place < depth
    best, rows = np.full((len(queries), depth), -np.inf), np.full((len(queries), depth), -1)
    best[query[kept], place[kept]] = scores[kept]
    rows[query[kept], place[kept]] = row[kept]
    return best, rows


def _nominated(
    queries: Vectors, probes: Numbers, edges: Ids, vectors: Vectors, floor: AnyArray
) -> Iterator[Ids]:
    """Yield int64 (2, m), queries and rows whose f32 product reaches the query's floor."""
    flat = probes.reshape(-1)
    order = np.argsort(flat, kind="stable")
    asked = np.searchsorted(flat[order], np.arange(len(edges)))
    for bucket in np.flatnonzero((np.diff(asked) > 0) & (np.diff(edges) > 0)):
        mine = order[asked[bucket] : asked[bucket + 1]] // probes.shape[1]
        step = max(1, PRODUCTS_AT_ONCE // len(mine))
        for start in range(edges[bucket], edges[bucket + 1], step):
            some = vectors[start : min(start + step, edges[bucket + 1])]
            products = queries[mine] @ some.T
            places = np.flatnonzero(products >= floor[mine, None])
            one, other = np.divmod(places, len(some))
            yield np.stack([mine[one], start + other])
