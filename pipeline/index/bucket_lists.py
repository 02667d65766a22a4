"""Vectors in bucket order, searched by FAISS within the buckets each query probes."""

from typing import Any, Literal

import faiss
import numpy as np

from pipeline.core.arrays import Bytes, Ids, Numbers, Scores, Vectors
from pipeline.index.bucket_scan import scan_topk
from pipeline.search.exact_topk import ShardTopK, row_scores
from pipeline.search.merge import MARGIN

# From so many queries a bucket on, all buckets' products are cheaper than lists query by query.
QUERIES_A_BUCKET = 4
SEEDS = 8  # the nearest buckets, asked first for a score that the others must beat

_QUANTIZERS = {"f32": None, "f16": faiss.ScalarQuantizer.QT_fp16}


class BucketLists:
    """FAISS inverted lists over rows sorted by bucket; row numbers are the lists' ids."""

    def __init__(
        self,
        buckets: Numbers,
        vectors: Vectors,
        count: int,
        precision: Literal["f32", "f16"] = "f32",
    ) -> None:
        """Take buckets int32 (n,), ascending, below ``count``, and vectors f32 (n, d)."""
        dimensions = vectors.shape[1]
        # Buckets are assigned by the caller, so this quantizer is never asked.
        self._nobody = faiss.IndexFlatIP(dimensions)
        kind = _QUANTIZERS[precision]
        metric = faiss.METRIC_INNER_PRODUCT
        if kind is None:
            self.index: Any = faiss.IndexIVFFlat(self._nobody, dimensions, count, metric)
        else:
            self.index = faiss.IndexIVFScalarQuantizer(
                self._nobody, dimensions, count, kind, metric, False
            )
        self.index.is_trained = True
        self.edges = edges = np.searchsorted(buckets, np.arange(count + 1))
        rows = np.arange(len(buckets), dtype=np.int64)
        for bucket in np.flatnonzero(np.diff(edges)):
            first, stop = edges[bucket], edges[bucket + 1]
            codes = _codes(self.index, vectors[first:stop])
            self.index.invlists.add_entries(
                int(bucket),
                int(stop - first),
                faiss.swig_ptr(rows[first:stop]),
                faiss.swig_ptr(codes),
            )
        self.index.ntotal = len(buckets)

    def probe(self, queries: Vectors, probes: Numbers, depth: int) -> tuple[Vectors, Ids]:
        """Return scores f32 and rows int64 (q, depth) within probes int32 (q, p); -1 beyond."""
        self.index.nprobe = probes.shape[1]
        found: tuple[Any, Any] = self.index.search_preassigned(
            np.ascontiguousarray(queries, np.float32),
            depth,
            probes.astype(np.int64),
            np.zeros(probes.shape, np.float32),
        )
        return found


def probed_topk(
    lists: BucketLists,
    queries: Vectors,
    probes: Numbers,
    ids: Ids,
    vectors: Vectors,
    depth: int,
    shard: int,
    error: float = 0.0,
) -> ShardTopK:
    """Return the ``depth`` best within the probed buckets, as exact_topk.shard_topk does.

    ids int64 (n,) and the exact vectors f32 (n, d) are in the rows' order. ``error`` bounds what
    the lists' own scores are off by; it is added to the cutoff, so certified answers are exact.
    """
    depth = min(depth, len(ids))
    if depth == 0:
        empty = np.empty((len(queries), 0))
        return ShardTopK(shard, empty.astype(np.int64), empty, np.full(len(queries), -np.inf))
    many = probes.shape[1] > SEEDS and probes.size >= QUERIES_A_BUCKET * (len(lists.edges) - 1)
    search = _scan if many else _probe
    scores, rows, cutoff = search(lists, queries, probes, vectors, depth, error)
    if depth == len(ids):
        cutoff = np.full(len(queries), -np.inf)
    return ShardTopK(shard, ids[rows], scores, cutoff)  # rows of -1 have a score of -inf


def _probe(
    lists: BucketLists,
    queries: Vectors,
    probes: Numbers,
    vectors: Vectors,
    depth: int,
    error: float,
) -> tuple[Scores, Ids, Scores]:
    """Return scores and rows (q, depth) and the cutoff (q,), query by query."""
    found, rows = lists.probe(queries, probes, depth)
    missing = rows < 0
    cutoff = np.where(missing[:, -1], -np.inf, found[:, -1].astype(np.float64) + error)
    return np.where(missing, -np.inf, row_scores(queries, vectors, rows)), rows, cutoff


def _scan(
    lists: BucketLists,
    queries: Vectors,
    probes: Numbers,
    vectors: Vectors,
    depth: int,
    error: float,
) -> tuple[Scores, Ids, Scores]:
    """Return what _probe does, by a scan that skips what the nearest buckets already beat."""
    seeds, there = lists.probe(queries, probes[:, :SEEDS], depth)
    floor = np.where(there[:, -1] < 0, -np.inf, seeds[:, -1] - (error + 2 * MARGIN))
    scores, rows = scan_topk(queries, probes, lists.edges, vectors, floor, depth)
    return scores, rows, scores[:, -1]


def _codes(index: Any, vectors: Vectors) -> Bytes:
    rows = np.ascontiguousarray(vectors, np.float32)
    if isinstance(index, faiss.IndexIVFFlat):
        return rows.view(np.uint8)
    codes: Bytes = index.sq.compute_codes(rows)
    return codes
