"""Which images have left their source: stored ones that readers no longer see, and unread ones."""

from contextlib import suppress
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Mask
from pipeline.core.entries import ShardEntry
from pipeline.core.errors import SluiceError
from pipeline.core.side_by_side import side_by_side
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.kinds import KINDS
from pipeline.images.manifest import MANIFEST, is_live
from pipeline.images.source import Listed


def gone_ids(listed: Listed, manifest: pa.Table, store: Store) -> list[int]:
    """Return the ids of the store's finished shards whose file is there no more, or has changed."""
    live = is_live(manifest, listed.files)
    stale = np.unique(manifest["shard"].to_numpy()[~live])
    finished = [entry.shard for entry in store.entries()]
    shards, ids = np.intersect1d(stale, finished).tolist(), list[int]()
    tables = side_by_side(store.root, partial(store.read_whole, columns=["id", "file"]), shards)
    for shard, rows in zip(shards, tables, strict=True):
        mine = pc.equal(manifest["shard"], shard).to_numpy() & live
        left = pc.unique(manifest["path"].filter(pa.array(mine)))
        ids += rows.filter(pc.invert(pc.is_in(rows["file"], value_set=left)))["id"].to_pylist()
    return sorted(ids)


def forget_unread(store: Store, listed: Listed, manifest: pa.Table) -> None:
    """Have files that were gone when their shard was made count as changed once they are back.

    Looked at are the shards finished since the store last was whole. A tar or table that is there
    has simply no images.
    """
    before = set()
    with suppress(SluiceError):  # none yet, or one that is about to be written anew
        before = {entry.shard for entry in store.manifest()}
    kind, source = KINDS[listed.source.kind], listed.source.opened()
    unread: Mask = np.zeros(manifest.num_rows, np.bool_)
    new = [entry for entry in store.entries() if entry.shard not in before]
    for entry, seen in zip(
        new, side_by_side(store.root, partial(files_of_shard, store), new), strict=True
    ):
        mine = pc.equal(manifest["shard"], entry.shard).to_numpy()
        unread |= mine & pc.invert(pc.is_in(manifest["path"], value_set=seen)).to_numpy()
    if kind.rows_a_file != 1:
        paths = manifest["path"].to_pylist()
        for row in np.flatnonzero(unread).tolist():
            unread[row] = not source.fs.exists(source.at(paths[row]))
    if unread.any():
        told = pa.array(unread)
        for name, value in (("file_bytes", -1), ("version", "not read")):
            column = pc.if_else(told, value, manifest[name])
            manifest = manifest.set_column(manifest.column_names.index(name), name, column)
        store.attach(MANIFEST, parquet_bytes(manifest))


def files_of_shard(store: Store, entry: ShardEntry) -> pa.Array:
    """Return the files of which a shard holds images, or refused ones."""
    files = [store.read_whole(entry.shard, ["file"])["file"]]
    if entry.quarantined:
        files.append(store.shards.read_quarantine(entry)["file"])
    return pa.concat_arrays([chunk for column in files for chunk in column.chunks])
