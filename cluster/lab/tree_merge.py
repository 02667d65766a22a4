"""Merging the shards' answers on the workers, group by group, instead of on the driver."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ray

from pipeline.lab.merge_timing import add_all
from pipeline.lab.scaling.emulated import made_up_part
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import SPARE, CertifiedMerge, Merged

TREE_BYTES = 1_000_000_000  # of parts the object store is asked to hold


@dataclass(frozen=True)
class TreeMerge:
    """The answer and the seconds of the whole tree, from the parts being in the object store."""

    merged: Merged
    seconds: float


def time_tree(shards: int, queries: int, k: int, fan_in: int, repeats: int) -> list[float]:
    """Return the seconds of merging parts of random scores by a tree, one a repeat.

    None are timed where the parts are more than TREE_BYTES.
    """
    depth = k + SPARE
    if shards * queries * depth * 16 > TREE_BYTES:
        return []
    parts = make_parts(shards, queries, depth)
    return [merge_by_tree(parts, k, fan_in).seconds for _ in range(repeats)]


def time_tree_of(parts: Sequence[ShardTopK], k: int, fan_in: int, repeats: int) -> list[float]:
    """Return the seconds of merging ``parts``, in the object store by then, one a repeat."""
    stored = [ray.put(part) for part in parts]
    return [merge_by_tree(stored, k, fan_in).seconds for _ in range(repeats)]


def merge_by_tree(parts: Sequence["ray.ObjectRef[ShardTopK]"], k: int, fan_in: int) -> TreeMerge:
    """Merge ``parts`` in groups of ``fan_in`` by Ray tasks until one is left for the driver."""
    merge = ray.remote(lambda *group: merge_group(group, k))
    began, level = time.perf_counter(), list(parts)
    while len(level) > 1:
        groups = [level[start : start + fan_in] for start in range(0, len(level), fan_in)]
        level = [merge.remote(*group) for group in groups]
    last = ray.get(level[0])
    seconds = time.perf_counter() - began
    answer = CertifiedMerge(len(last.cutoff), k)
    answer.add(last)
    return TreeMerge(answer.result(), seconds)


def make_parts(shards: int, queries: int, depth: int) -> list["ray.ObjectRef[ShardTopK]"]:
    """Have the workers make one part a shard and keep it in the object store."""
    make = ray.remote(made_up_part)
    parts = [make.remote(shard, queries, depth) for shard in range(shards)]
    ray.wait(parts, num_returns=len(parts), fetch_local=False)
    return parts


def merge_group(parts: Iterable[ShardTopK], k: int) -> ShardTopK:
    """Merge parts into one that stands for all their shards: the step of a tree of merges.

    What it leaves out is below its own k-th, so it can never be among the k best.
    """
    parts = list(parts)
    merge = CertifiedMerge(len(parts[0].cutoff), k)
    add_all(merge, parts)
    merged = merge.result()
    return ShardTopK(parts[0].shard, merged.ids, merged.scores, merge.cutoff, merged.scores[:, 0])
