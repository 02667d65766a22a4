"""What merging the shards' answers costs on one thread: ours beside FAISS's two merges."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np

from pipeline.core.arrays import Vectors
from pipeline.lab.scaling.emulated import made_up_part
from pipeline.lab.timing import seconds_of
from pipeline.search.exact_topk import ShardTopK, shard_topk
from pipeline.search.merge import SPARE, CertifiedMerge

AT_ONCE = 500_000_000  # bytes of parts that stand in memory at a time


@dataclass(frozen=True)
class MergeTiming:
    """Seconds each merge took; the certified one and the heap take parts of k + 16 as they come.

    FAISS's merge_knn_results wants all parts at once: it is timed where they fit AT_ONCE, else
    NaN. ``search`` is the same shards' exact search, one thread, from one shard's measured time.
    """

    shards: int
    queries: int
    k: int
    certified: float
    faiss_heap: float
    faiss_merge: float
    search: float

    @property
    def outweighs_at(self) -> float:
        """Workers from which on the driver's merge takes longer than their share of searching."""
        return self.search / self.certified


def time_merges(shards: int, queries: int, k: int, rows: int, dimensions: int) -> MergeTiming:
    """Time all merges over ``shards`` parts of random scores; only one group is held at a time.

    The search that goes with them is over shards of ``rows`` unit vectors of ``dimensions``.
    """
    faiss.omp_set_num_threads(1)
    depth = k + SPARE
    group = max(1, AT_ONCE // (queries * depth * 16))
    merge, certified = CertifiedMerge(queries, k), 0.0
    heap, by_heap = faiss.ResultHeap(queries, k, keep_max=True), 0.0
    by_merge = float("nan")
    for first in range(0, shards, group):
        parts = [
            made_up_part(shard, queries, depth)
            for shard in range(first, min(first + group, shards))
        ]
        certified += seconds_of(partial(add_all, merge, parts))
        scores = [part.scores.astype(np.float32) for part in parts]
        by_heap += seconds_of(partial(_heap_all, heap, scores, parts))
        if len(parts) == shards:
            stacked, ids = np.stack(scores), np.stack([part.ids for part in parts])
            by_merge = seconds_of(partial(faiss.merge_knn_results, stacked, ids, keep_max=True))
    certified += seconds_of(merge.result)
    by_heap += seconds_of(heap.finalize)
    search = shards * search_seconds(queries, k, rows, dimensions)
    return MergeTiming(shards, queries, k, certified, by_heap, by_merge, search)


def search_seconds(queries: int, k: int, rows: int, dimensions: int) -> float:
    """Return the seconds an exact search of one shard takes on one thread."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(queries + rows, dimensions)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    asked, vectors, ids = made[:queries], made[queries:], np.arange(rows)
    return seconds_of(lambda: shard_topk(asked, ids, vectors, k + SPARE, 0))


def add_all(merge: CertifiedMerge, parts: list[ShardTopK]) -> None:
    for part in parts:
        merge.add(part)


def _heap_all(heap: Any, scores: list[Vectors], parts: list[ShardTopK]) -> None:
    for values, part in zip(scores, parts, strict=True):
        heap.add_result(values, part.ids)
