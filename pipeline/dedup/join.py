"""The join of a whole store whose shards are sorted by partition, over any spread."""

from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.dedup.join_shard import JoinPlan
from pipeline.index.partitions import Partitions


def join_partitions(
    spread: Spread,
    parts: Store,
    store: Store,
    partitions: Partitions,
    similarity: float,
    nearest: int = 0,
) -> None:
    """Join every partition of every generation into ``store``; finished ones are skipped."""
    plan = JoinPlan(parts.root, store.root, partitions, similarity, nearest)
    for _ in spread(plan, partitions.missing(store)):
        pass
    store.finish(partitions.parts)
