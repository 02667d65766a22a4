"""Images of a source, read for a benchmark as a job would read them."""

import pyarrow as pa

from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import Source


def first_shard(source: Source, shard_rows: int) -> pa.Table:
    """Return the first shard of ``source`` as read_shard gives it."""
    return read_shard(source, plan_manifest(source, shard_rows), 0)


def whole_source(source: Source, shard_rows: int) -> pa.Table:
    """Return (id, bytes) of all images of ``source``, in the order of its shards."""
    manifest = plan_manifest(source, shard_rows)
    shards = sorted(set(manifest["shard"].to_pylist()))
    return pa.concat_tables(
        [read_shard(source, manifest, shard).select(["id", "bytes"]) for shard in shards]
    )
