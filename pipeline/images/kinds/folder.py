"""Image files in folders: each is a unit, labelled by the folder it lies in."""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.images.kinds.kind import SourceKind, Span, Unit, labelled, unchanged

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def _rows(fs: Any, root: str, units: list[Unit]) -> "pa.Table":
    """Read the files in one call, which object stores answer for many at once."""
    paths = [f"{root}/{unit['path']}" for unit in units]
    # A lone path would come back as bytes; a path twice is read once.
    found = fs.cat([*paths, paths[0]], on_error="return")
    return labelled(
        (unit["path"], unchanged(found.get(path), unit), PurePosixPath(unit["path"]).parent.name)
        for unit, path in zip(units, paths, strict=True)
    )


FOLDER = SourceKind(
    suffixes=IMAGE_SUFFIXES,
    units=lambda data, path: [Span()],
    rows=_rows,
    file_of=lambda key: key,
)
