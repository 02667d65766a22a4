"""What makes shards count: an entry each, and all of them in one file, which is read at once.

That file is named by its checksum and never changes: a reader of an older manifest has its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa

from pipeline.core.errors import StoreError
from pipeline.core.files import checksum, write_atomically
from pipeline.core.folder import Place, files_in
from pipeline.core.tables import parquet_bytes, table_of

FOLDER = "compacted"


class ShardEntry(NamedTuple):
    """What the manifest records of one finished shard. Sizes are bytes, checksums blake2b-128."""

    shard: int
    rows: int
    bytes: int
    checksum: str
    footer_checksum: str  # of the shard file's end, which no page's CRC covers
    quarantined: int = 0
    quarantine_checksum: str = ""


ENTRIES = pa.schema(
    [
        ("shard", pa.int64()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("checksum", pa.string()),
        ("footer_checksum", pa.string()),
        ("quarantined", pa.int64()),
        ("quarantine_checksum", pa.string()),
    ]
)


def write_entries(root: Place, entries: Sequence[ShardEntry]) -> str:
    """Keep ``entries`` in one file of the store at ``root``; return its checksum."""
    columns = [list(column) for column in zip(*entries, strict=True)] or [[]] * len(ENTRIES)
    data = parquet_bytes(pa.table(columns, schema=ENTRIES))
    name = checksum(data)
    write_atomically(_path(root, name), data)
    return name


def read_entries(root: Place, name: str) -> list[ShardEntry]:
    """Return the entries in the file of checksum ``name``.

    Raises FileNotFoundError where it is not there, ValueError where it has changed.
    """
    data = _path(root, name).read_bytes()
    if checksum(data) != name:
        raise ValueError(f"{_path(root, name)} does not have its own checksum")
    columns = table_of(data).to_pydict()
    rows = zip(*(columns[name] for name in ENTRIES.names), strict=True)
    return list(map(ShardEntry._make, rows))


def latest_entries(root: Place) -> tuple[list[ShardEntry], float]:
    """Return the entries in the newest file that is whole, and when it was written.

    Seconds since the epoch; 0 where there is none.
    """
    found = files_in(root / FOLDER)
    for name in sorted(found, key=lambda name: found[name].modified, reverse=True):
        with suppress(ValueError, OSError, StoreError, pa.ArrowException):
            return read_entries(root, name.removesuffix(".parquet")), found[name].modified
    return [], 0.0


def forget_other_entries(root: Place, names: Sequence[str]) -> None:
    """Remove all such files but those of checksums ``names``."""
    for name in files_in(root / FOLDER):
        if name.removesuffix(".parquet") not in names:
            (root / FOLDER / name).unlink(missing_ok=True)


def _path(root: Place, name: str) -> Place:
    return root / FOLDER / f"{name}.parquet"
