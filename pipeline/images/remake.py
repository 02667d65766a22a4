"""Shards of a store that are damaged, made again of the images they were made of."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.images.manifest import read_manifest


def remake_shards(
    store: Store, shards: Sequence[int], plan_of: Callable[[pa.Table], ShardPlan], spread: Spread
) -> None:
    """Make ``shards`` of a finished ``store`` again, by ``plan_of`` the units of their images.

    Images are read as they are now: of those that have changed or left since, the next run of the
    job that made the store tells. Raises StoreError where another job holds the store.
    """
    with store.lock():
        count = len(store.manifest())
        manifest = read_manifest(store)
        units = manifest.filter(pc.is_in(manifest["shard"], value_set=pa.array(shards, pa.int64())))
        plan = plan_of(units)
        store.drop(shards)
        for _ in spread(plan, shards):
            pass
        store.finish(count)
