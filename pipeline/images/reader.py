"""Reading a shard of a source: the bytes of its images with their ids, keys and other columns."""

import pyarrow as pa
import pyarrow.compute

from pipeline.images.kinds import KINDS
from pipeline.images.source import Source


def read_shard(source: Source, manifest: pa.Table, shard: int) -> pa.Table:
    """Read one shard, in the manifest's order.

    Returns id int64, key string (where the image is, below the source's root), bytes binary (null
    where the file is gone or is no longer the one in the manifest), then the source's own columns.
    Raises InputError where a Parquet file cannot be read or lacks the bytes column, or where a tar
    is gone or has changed.
    """
    units = manifest.filter(pa.compute.equal(manifest["shard"], shard)).to_pylist()
    return KINDS[source.kind].rows(source.filesystem(), source.root, units)
