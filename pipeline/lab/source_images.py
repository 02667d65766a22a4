"""Images of a source, read for a benchmark as a job would read them."""

import pyarrow as pa

from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import Listed


def first_shard(listed: Listed, shard_rows: int) -> pa.Table:
    """Return the first shard of a source as read_shard gives it."""
    return read_shard(listed.source, plan_manifest(listed, shard_rows).manifest, 0)


def whole_source(listed: Listed, shard_rows: int) -> pa.Table:
    """Return (id, bytes) of all images of a source, in the order of its shards."""
    manifest = plan_manifest(listed, shard_rows).manifest
    shards = sorted(set(manifest["shard"].to_pylist()))
    return pa.concat_tables(
        [read_shard(listed.source, manifest, shard).select(["id", "bytes"]) for shard in shards]
    )
