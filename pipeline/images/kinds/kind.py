"""What a kind of source is: which files it has, and what lies in them.

The configuration takes its choices from here, and a help page must not wait for a library: the
kinds import pyarrow where they use it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.files import checksum
from pipeline.core.ids import stable_id

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Ids

Unit = dict[str, Any]  # a row of the source manifest, by column


class Span(NamedTuple):
    """What of a file is read in one go."""

    start: int = 0  # the first row group of a Parquet file, else 0
    stop: int = 0  # one past the last
    rows: int = 1


@dataclass(frozen=True)
class SourceKind:
    """The files of one kind of source; ``fs`` is an fsspec filesystem, ``root`` a path on it."""

    suffixes: frozenset[str]  # of the files' names, in lower case
    # (a file's bytes, its path below the root): its units. Raises InputError where it is damaged.
    units: Callable[[bytes, str], Iterable[Span]]
    # (fs, root, the units of a shard): what read_shard returns, and raises.
    rows: Callable[[Any, str, list[Unit]], "pa.Table"]
    file_of: Callable[[str], str]  # (an image's key): its file's path below the root
    rows_a_shard: int | None = None  # none: what is asked for
    # (fs, a file's path): the ids it brings (n,), none where it brings none.
    ids: Callable[[Any, str], "Ids | None"] | None = None


def unchanged(data: Any, unit: Unit) -> bytes | None:
    """Return ``data`` where it is the file that the manifest lists, else None."""
    same = isinstance(data, bytes) and checksum(data) == unit["checksum"]
    return data if same else None


def labelled(images: Iterable[tuple[str, bytes | None, str]]) -> "pa.Table":
    """Return (id, key, bytes, label) of images given as (key, bytes, label)."""
    import pyarrow as pa

    rows = [
        {"id": stable_id(key), "key": key, "bytes": data, "label": label}
        for key, data, label in images
    ]
    names = (("id", pa.int64()), ("key", pa.string()), ("bytes", pa.binary()))
    return pa.Table.from_pylist(rows, schema=pa.schema([*names, ("label", pa.string())]))
