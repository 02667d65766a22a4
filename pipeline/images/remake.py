"""What of a store is damaged, made again of the images it was made of: shards, their manifest."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import StoreError
from pipeline.core.side_by_side import side_by_side
from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.gone import files_of_shard
from pipeline.images.kinds import KINDS
from pipeline.images.manifest import (
    MANIFEST,
    plan_manifest,
    read_manifest,
    remembered_source,
    told_source,
)
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed, Source


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


def remembered_source_of(store: Store) -> Source | None:
    """Return the source that a damaged manifest of ``store`` still names, None where it does not.

    Its bytes are not checked.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        data = (store.attachments.folder / MANIFEST).read_bytes()
        return remembered_source(pq.read_schema(pa.BufferReader(data)))
    return None


def manifests_again(store: Store, listed: Listed, rows: ShardRows) -> Iterator[bytes]:
    """Yield what the source manifest of a finished ``store`` may have been, by its source's list.

    The source may have grown, then and since, where a file is in one shard and all can be read;
    else it is cut as at its first run, into ``rows`` a shard or as many as the largest holds.
    """
    most = max((entry.rows + entry.quarantined for entry in store.manifest()), default=1)
    told = told_source(listed.source)
    if KINDS[listed.source.kind].spans is None:
        with suppress(StoreError):
            seen = _as_seen(store, listed, most)
            yield parquet_bytes(seen.replace_schema_metadata(told))
    for each in (rows, most):
        manifest = plan_manifest(listed, each).manifest
        yield parquet_bytes(manifest.replace_schema_metadata(told))


def _as_seen(store: Store, listed: Listed, most: int) -> pa.Table:
    """Return the manifest of the files that shards have seen, each in its shard."""
    entries = store.manifest()
    seen = side_by_side(store.root, lambda entry: pc.unique(files_of_shard(store, entry)), entries)
    tables = [
        pa.table(
            {"path": paths, "shard": pa.repeat(pa.scalar(entry.shard, pa.int64()), len(paths))}
        )
        for entry, paths in zip(entries, seen, strict=True)
    ]
    shards = pa.concat_tables(tables).combine_chunks()
    known = listed.files.filter(pc.is_in(listed.files["path"], value_set=shards["path"]))
    manifest = plan_manifest(replace(listed, files=known), most).manifest
    place = pc.index_in(manifest["path"], value_set=shards["path"])
    return manifest.set_column(0, "shard", shards["shard"].take(place)).sort_by("shard")
