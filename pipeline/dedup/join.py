"""The join of a whole store whose shards are sorted by partition, over any spread."""

from collections.abc import Sequence

from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.dedup.join_shard import JoinPlan
from pipeline.index.partitions import Partitions


def unjoined(store: Store, partitions: Partitions) -> Sequence[int]:
    """Return the numbers of the joins, as in JoinPlan, whose pairs ``store`` does not hold yet."""
    done = {entry.shard for entry in store.entries()}
    return [number for number in range(partitions.parts) if number not in done]


def join_partitions(
    spread: Spread, parts: Store, store: Store, partitions: Partitions, similarity: float
) -> None:
    """Join every partition of every generation into ``store``; finished ones are skipped."""
    plan = JoinPlan(parts.root, store.root, partitions, similarity)
    for _ in spread(plan, unjoined(store, partitions)):
        pass
    store.finish(partitions.parts)
