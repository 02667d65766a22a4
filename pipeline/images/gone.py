"""Which stored images have left their source: their rows stay, readers no longer see them."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from pipeline.core.store import Store
from pipeline.images.kinds import KINDS
from pipeline.images.source import Source, list_files


def gone_ids(source: Source, manifest: pa.Table, store: Store) -> list[int]:
    """Return the ids of the store's finished shards whose file in ``source`` is there no more."""
    there = {path for path, _ in list_files(source)}
    gone = [(u["shard"], u["path"]) for u in manifest.to_pylist() if u["path"] not in there]
    finished = {entry.shard for entry in store.entries()}
    files = {path for _, path in gone}
    ids: list[int] = []
    for shard in sorted({shard for shard, _ in gone} & finished):
        rows = store.read_whole(shard, ["id", "key"])
        ids += _ids_of(rows, KINDS[source.kind].file_of, files)
    return sorted(ids)


def _ids_of(rows: pa.Table, file_of: Callable[[str], str], files: set[str]) -> Iterable[int]:
    pairs = zip(rows["id"].to_pylist(), rows["key"].to_pylist(), strict=True)
    return [number for number, key in pairs if file_of(key) in files]
