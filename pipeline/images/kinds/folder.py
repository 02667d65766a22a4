"""Image files in folders: each is a unit, labelled by the folder it lies in."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.images.kinds.kind import BATCH_BYTES, Found, Opened, SourceKind, Unit, labelled

if TYPE_CHECKING:
    import pyarrow as pa


def _batches(source: Opened, units: list[Unit], rows: int) -> Iterator["pa.Table"]:
    yield labelled([])
    for some in _batched(units, rows):
        yield labelled(_images(source, some))


def _batched(units: list[Unit], rows: int) -> Iterator[list[Unit]]:
    """Yield up to ``rows`` units of up to BATCH_BYTES, or one that is larger."""
    batch: list[Unit] = []
    size = 0
    for unit in units:
        larger = size + (unit["bytes"] or 0)
        if batch and (len(batch) == rows or larger > BATCH_BYTES):
            yield batch
            batch, larger = [], unit["bytes"] or 0
        batch.append(unit)
        size = larger
    if batch:
        yield batch


def _images(source: Opened, units: list[Unit]) -> Iterator[Found]:
    """Yield the files that are there: one that has left meanwhile simply leaves."""
    from pipeline.images.kinds.patience import read_files

    found = read_files(source.fs, [source.at(unit["path"]) for unit in units])
    for unit, data in zip(units, found, strict=True):
        path, revision = unit["path"], unit["revision"]
        label = PurePosixPath(path).parent.name
        if isinstance(data, bytes):
            yield Found(path, path, data, label, revision)
        elif not isinstance(data, FileNotFoundError):
            reason = getattr(data, "strerror", None) or str(data)
            yield Found(path, path, None, label, revision, f"unreadable: {reason}")


FOLDER = SourceKind(suffixes=IMAGE_SUFFIXES, batches=_batches)
