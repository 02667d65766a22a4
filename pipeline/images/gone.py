"""Which stored images have left their source: their rows stay, readers no longer see them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.store import Store
from pipeline.images.manifest import is_live
from pipeline.images.source import Listed


def gone_ids(listed: Listed, manifest: pa.Table, store: Store) -> list[int]:
    """Return the ids of the store's finished shards whose file is there no more, or has changed."""
    live = is_live(manifest, listed.files)
    stale = np.unique(manifest["shard"].to_numpy()[~live])
    finished = [entry.shard for entry in store.entries()]
    ids: list[int] = []
    for shard in np.intersect1d(stale, finished).tolist():
        mine = pc.equal(manifest["shard"], shard).to_numpy() & live
        left = pc.unique(manifest["path"].filter(pa.array(mine)))
        rows = store.read_whole(shard, ["id", "file"])
        ids += rows.filter(pc.invert(pc.is_in(rows["file"], value_set=left)))["id"].to_pylist()
    return sorted(ids)
