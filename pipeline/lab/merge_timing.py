"""What merging the shards' answers costs on one thread: ours beside FAISS's two merges."""

import time
from collections.abc import Mapping, Sequence
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
SEARCHED_SHARDS = 1000  # at most, and so many products of numbers: half a minute of one core
SEARCHED_PRODUCTS = 2e11


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

    @property
    def share(self) -> float:
        """Share of merging in the search by one worker and its merge."""
        return self.certified / (self.certified + self.search)


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


@dataclass(frozen=True)
class Searched:
    """Real parts: what an exact search of each shard found, and the seconds of all searches."""

    parts: list[ShardTopK]
    seconds: float


def search_shards(shards: int, queries: int, k: int, rows: int, dimensions: int) -> Searched | None:
    """Search ``shards`` of ``rows`` made vectors; each query is near to one of one shard.

    A shard's vectors are the first's with their numbers moved on, so that they are made quickly
    and lie as far apart as any. None where that would take more than SEARCHED_SHARDS,
    SEARCHED_PRODUCTS or AT_ONCE.
    """
    size = queries * (k + SPARE) * 16 * shards
    if shards > SEARCHED_SHARDS or size > AT_ONCE:
        return None
    if shards * queries * rows * dimensions > SEARCHED_PRODUCTS:
        return None
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    first = _unit(rng.normal(size=(rows, dimensions)).astype(np.float32))
    noise = rng.normal(size=(queries, dimensions)).astype(np.float32) / dimensions**0.5
    near = np.stack([np.roll(first[query % rows], query % shards) for query in range(queries)])
    asked, parts, seconds = _unit(near + noise / 2), [], 0.0
    for shard in range(shards):
        vectors, ids = np.roll(first, shard, axis=1), np.arange(rows) + shard * rows
        began = time.perf_counter()
        parts.append(shard_topk(asked, ids, vectors, k + SPARE, shard))
        seconds += time.perf_counter() - began
    return Searched(parts, seconds)


def time_searched(searched: Searched, queries: int, k: int) -> float:
    """Return the seconds of the certified merge of real parts, on this thread."""
    merge = CertifiedMerge(queries, k)
    return seconds_of(partial(add_all, merge, searched.parts)) + seconds_of(merge.result)


def tree_from(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the shards from which on the tree is quicker than the driver's merge, or None.

    ``rows`` have shards, certified and tree (None: not timed), all of the same queries and k.
    """
    timed = sorted((row for row in rows if row["tree"] is not None), key=lambda row: row["shards"])
    slower = [row["shards"] for row in timed if row["tree"] >= row["certified"]]
    beyond = [row["shards"] for row in timed if row["shards"] > max(slower, default=0)]
    return beyond[0] if beyond else None


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def search_seconds(queries: int, k: int, rows: int, dimensions: int) -> float:
    """Return the seconds an exact search of one shard takes on one thread."""
    rng = np.random.default_rng(0)
    made = _unit(rng.normal(size=(queries + rows, dimensions)).astype(np.float32))
    asked, vectors, ids = made[:queries], made[queries:], np.arange(rows)
    return seconds_of(lambda: shard_topk(asked, ids, vectors, k + SPARE, 0))


def add_all(merge: CertifiedMerge, parts: list[ShardTopK]) -> None:
    for part in parts:
        merge.add(part)


def _heap_all(heap: Any, scores: list[Vectors], parts: list[ShardTopK]) -> None:
    for values, part in zip(scores, parts, strict=True):
        heap.add_result(values, part.ids)
