"""What a kind of source is: which files it has, and what lies in them.

The configuration takes its choices from here, and a help page must not wait for a library: the
kinds import pyarrow where they use it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.ids import stable_id

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Ids

Unit = dict[str, Any]  # a row of the source manifest, by column
BATCH_BYTES = 32 * 2**20  # of files read at once; one that is larger is read alone


class Span(NamedTuple):
    """What of a Parquet file is read in one go."""

    start: int  # first row
    stop: int  # one past the last
    bytes: int  # about


class Opened(NamedTuple):
    """A source as its kind reads it."""

    fs: Any  # an fsspec filesystem
    root: str  # a path on it
    column: str | None = None  # the column that is read; none: the kind finds it

    def at(self, path: str) -> str:
        """Return where a file is on ``fs`` whose path below the root is given."""
        if path.startswith("/"):  # in another folder than the first
            return f"{self.fs.root_marker}{path[1:]}"
        return joined(self.root, path)

    def url(self, path: str) -> str:
        """Return where such a file is from anywhere: a whole path, or an object's URL."""
        local = "file" in (self.fs.protocol, *self.fs.protocol)
        return self.at(path) if local else str(self.fs.unstrip_protocol(self.at(path)))


@dataclass(frozen=True)
class SourceKind:
    """The files of one kind of source."""

    suffixes: frozenset[str]  # of the files' names, in lower case
    # (source, the units of a shard, rows): what read_batches returns, and raises.
    batches: Callable[[Opened, list[Unit], int], Iterator["pa.Table"]]
    rows_a_file: int | None = 1  # none: known only once it is read
    files_a_shard: int | None = None  # none: as many as fit
    # (source, a file's path, rows a shard, bytes a shard): the spans its units are; none: a file is
    # a unit. Raises InputError where the file cannot be used.
    spans: Callable[[Opened, str, int, int], list[Span]] | None = None
    # (source, a file's path): the ids it brings (n,), none where it brings none. Raises InputError.
    ids: Callable[[Opened, str], "Ids | None"] | None = None
    by_column: bool = False  # read only where a setting names the column


class Found(NamedTuple):
    """An image of a file, or what is wrong with it."""

    key: str  # where it is, below the source's root
    file: str  # the path of its file there
    data: bytes | None
    label: str
    revision: int
    refused: str | None = None  # "reason: detail"


def joined(root: str, path: str) -> str:
    """Return the path of a file on its filesystem; that of an archive may have no root."""
    return f"{root}/{path}" if root else path


def image_id(key: str, revision: int) -> int:
    """Return the id of an image that brings none: another one each time its file has changed."""
    return stable_id(f"{key}\0{revision}" if revision else key)


def labelled(images: Iterable[Found]) -> "pa.Table":
    """Return (id, key, bytes, refused, file, label) of images."""
    import pyarrow as pa

    rows = [
        {
            "id": image_id(image.key, image.revision),
            "key": image.key,
            "bytes": image.data,
            "refused": image.refused,
            "file": image.file,
            "label": image.label,
        }
        for image in images
    ]
    text = [(name, pa.string()) for name in ("refused", "file", "label")]
    names = (("id", pa.int64()), ("key", pa.string()), ("bytes", pa.binary()))
    return pa.Table.from_pylist(rows, schema=pa.schema([*names, *text]))
