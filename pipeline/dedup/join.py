"""The join of a whole store, over any spread: every shard sorted by partition, then every join.

Both go on where they stopped: ``unsorted`` and ``unjoined`` tell what is still to do.
"""

from collections.abc import Sequence

from pipeline.core.shards import ShardEntry
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.dedup.join_shard import JoinPlan, SortPlan
from pipeline.dedup.partitions import Partitions


def unsorted(embeddings: Store, parts: Store) -> list[ShardEntry]:
    """Return the shards of ``embeddings`` that ``parts`` does not hold yet."""
    done = {entry.shard for entry in parts.entries()}
    return [entry for entry in embeddings.manifest() if entry.shard not in done]


def sort_shards(
    spread: Spread, embeddings: Store, parts: Store, partitions: Partitions, assignments: int
) -> None:
    """Sort every shard of ``embeddings`` by partition into ``parts``; finished ones are skipped.

    assignments: the nearest buckets that each vector lies in.
    """
    shards = [entry.shard for entry in unsorted(embeddings, parts)]
    grid, count = partitions.grid, partitions.count
    for _ in spread(SortPlan(embeddings.root, parts.root, grid, assignments, count), shards):
        pass
    parts.finish(len(embeddings.manifest()))


def unjoined(store: Store, partitions: Partitions) -> Sequence[int]:
    """Return the numbers of the joins, as in JoinPlan, whose pairs ``store`` does not hold yet."""
    done = {entry.shard for entry in store.entries()}
    return [number for number in range(partitions.joins) if number not in done]


def join_partitions(
    spread: Spread, parts: Store, store: Store, partitions: Partitions, similarity: float
) -> None:
    """Join every partition of every generation into ``store``; finished ones are skipped."""
    plan = JoinPlan(
        parts.root,
        store.root,
        partitions.grid.buckets,
        partitions.count,
        partitions.generations,
        similarity,
    )
    for _ in spread(plan, unjoined(store, partitions)):
        pass
    store.finish(partitions.joins)
