"""Bringing a store up to its source: the same dance for embeddings and signatures."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.run_record import RunRecord
from pipeline.core.shards import ShardEntry
from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.images.gone import gone_ids
from pipeline.images.manifest import extend_manifest, pending_units
from pipeline.images.source import Source


@dataclass(frozen=True)
class Filled:
    """What a finished store holds, and how much of it earlier runs had finished."""

    entries: list[ShardEntry]
    earlier: int  # shards


def fill_from_source(
    store: Store,
    source: Source,
    shard_rows: int,
    plan_of: Callable[[pa.Table], ShardPlan],
    spread: Spread,
    record: RunRecord,
) -> Filled:
    """Make the shards of ``source`` that ``store`` lacks, and bury the images that left it.

    ``plan_of`` gets the units of those shards, in the manifest's schema, and is called only where
    there are some. Raises StoreError where another job holds the store, InputError where the source
    cannot be used.
    """
    with store.lock():
        with record.stage("source manifest"):
            manifest = extend_manifest(store, source, shard_rows)
        done = {entry.shard for entry in store.entries()}
        pending = pending_units(manifest, done)
        shards = sorted(set(pending["shard"].to_pylist()))
        record.images = sum(pending["rows"].to_pylist())
        if shards:
            for _ in spread(plan_of(pending), shards):
                pass
        store.bury(gone_ids(source, manifest, store))
        entries = store.finish(len(set(manifest["shard"].to_pylist())))
    return Filled(entries, len(done))
