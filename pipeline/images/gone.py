"""Which stored images have left their source: their rows stay, readers no longer see them."""

import re
from collections.abc import Iterable

import pyarrow as pa

from pipeline.core.store import Store
from pipeline.images.source import Kind, Source, list_files

_TAR = re.compile(r"^(.*?\.tar)/", re.IGNORECASE)


def gone_ids(source: Source, manifest: pa.Table, store: Store) -> list[int]:
    """Return the ids of the store's finished shards whose file in ``source`` is there no more."""
    there = {path for path, _ in list_files(source)}
    gone = [(u["shard"], u["path"]) for u in manifest.to_pylist() if u["path"] not in there]
    finished = {entry.shard for entry in store.entries()}
    files = {path for _, path in gone}
    ids: list[int] = []
    for shard in sorted({shard for shard, _ in gone} & finished):
        rows = store.read_whole(shard, ["id", "key"])
        ids += _ids_of(rows, source.kind, files)
    return sorted(ids)


def _ids_of(rows: pa.Table, kind: Kind, files: set[str]) -> Iterable[int]:
    pairs = zip(rows["id"].to_pylist(), rows["key"].to_pylist(), strict=True)
    return [number for number, key in pairs if file_of(kind, key) in files]


def file_of(kind: Kind, key: str) -> str:
    """Return the file below the source's root that holds the image ``key`` names."""
    if kind == "parquet":
        return key.rpartition("#")[0]
    if kind == "webdataset" and (found := _TAR.match(key)):
        return found[1]
    return key
