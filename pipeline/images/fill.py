"""Bringing a store up to its source: the same dance for embeddings and signatures."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.entries import ShardEntry
from pipeline.core.row_map import keep_row_maps
from pipeline.core.run_record import RunRecord
from pipeline.core.side_by_side import side_by_side
from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.images.gone import forget_unread, gone_ids
from pipeline.images.kinds import KINDS
from pipeline.images.manifest import extend_manifest, is_live, pending_units
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed
from pipeline.images.squares import QUARANTINE
from pipeline.images.touched import keep_untouched


@dataclass(frozen=True)
class Filled:
    """What a finished store holds, how much of it is older, and what it does not hold."""

    entries: list[ShardEntry]
    earlier: int  # shards that earlier runs had finished
    quarantine: pa.Table  # QUARANTINE, of the files that are there as they were read
    missing: int  # images listed that were gone when they were to be read
    left_out: Counter[str]  # files of the source, by reason
    shared_keys: int  # keys that a source of tables gives to several images


def fill_from_source(
    store: Store,
    listed: Listed,
    shard_rows: ShardRows,
    plan_of: Callable[[pa.Table], ShardPlan],
    spread: Spread,
    record: RunRecord,
) -> Filled:
    """Make the shards of a source that ``store`` lacks, and bury the images that left it.

    ``plan_of`` gets the units of those shards, in the manifest's schema, and is called only where
    there are some. Raises StoreError where another job holds the store, InputError where the source
    cannot be used.
    """
    with store.lock(), store.followed():
        keep_untouched(store, listed, spread)
        with record.stage("source manifest"):
            planned = extend_manifest(store, listed, shard_rows)
            manifest = planned.manifest
            done = {entry.shard for entry in store.entries()}
            pending = pending_units(manifest, listed.files, done)
        every = pc.unique(manifest["shard"]).to_pylist()
        shards = [shard for shard in every if shard not in done]
        record.images = pc.sum(pending["rows"]).as_py() or 0
        if shards:
            answers = store.compacting(spread(plan_of(pending), shards))
            record.images = sum(sum(answer["rows"].to_pylist()) for answer in answers)
        forget_unread(store, listed, manifest)
        store.bury(gone_ids(listed, manifest, store))
        entries = store.finish(len(every))
        with record.stage("map the rows"):
            keep_row_maps(store)
    missing = max(0, (pc.sum(pending["rows"]).as_py() or 0) - record.images)
    left_out = listed.left_out + planned.unusable
    refused = _quarantine(store, entries, listed, manifest)
    return Filled(entries, len(done), refused, missing, left_out, _shared_keys(store, listed))


def _quarantine(
    store: Store, entries: list[ShardEntry], listed: Listed, manifest: pa.Table
) -> pa.Table:
    """A file that has left or was mended since is quarantined no more."""
    live = manifest.filter(pa.array(is_live(manifest, listed.files)))
    parts, some = [QUARANTINE.empty_table()], [entry for entry in entries if entry.quarantined]
    tables = side_by_side(store.root, store.shards.read_quarantine, some)
    for entry, rows in zip(some, tables, strict=True):
        there = live.filter(pc.equal(live["shard"], entry.shard))["path"].combine_chunks()
        parts.append(rows.filter(pc.is_in(rows["file"], value_set=there)))
    return pa.concat_tables(parts)


def _shared_keys(store: Store, listed: Listed) -> int:
    """Files have a name each, but the rows of tables are called what their column says."""
    if KINDS[listed.source.kind].spans is None or not store.images():
        return 0
    shards = [entry.shard for entry in store.manifest()]
    tables = side_by_side(store.root, partial(store.read, columns=["key"]), shards)
    counts = pa.concat_tables(tables)["key"].value_counts()
    return int(pc.sum(pc.greater(counts.field("counts"), 1)).as_py())
