"""WebDataset tars: each is a unit and a shard; a sample's label is its .cls file."""

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.images.kinds.folder import IMAGE_SUFFIXES
from pipeline.images.kinds.kind import SourceKind, Span, Unit, labelled, unchanged

if TYPE_CHECKING:
    import pyarrow as pa

_TAR = re.compile(r"^(.*?\.tar)/", re.IGNORECASE)


def _tar_images(data: bytes, path: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield (member name, bytes, label) of a tar's images.

    Members of one sample share the name up to its first dot. Raises InputError for a damaged tar.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = {m.name: m for m in tar if m.isfile()}
            images = [n for n in members if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES]
            for name in images:
                base = PurePosixPath(name)
                label = members.get(str(base.with_name(base.name.split(".")[0] + ".cls")))
                yield name, _member(tar, members[name]), _text(tar, label)
    except tarfile.TarError as error:
        raise InputError(f"{path} is not a tar ({error}); remove it or write it anew") from error


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> str:
    return _member(tar, member).decode(errors="replace").strip() if member else ""


def _units(data: bytes, path: str) -> list[Span]:
    return [Span(rows=sum(1 for _ in _tar_images(data, path)))]


def _rows(fs: Any, root: str, units: list[Unit]) -> "pa.Table":
    return labelled(row for unit in units for row in _unit_rows(fs, root, unit))


def _unit_rows(fs: Any, root: str, unit: Unit) -> Iterator[tuple[str, bytes, str]]:
    path = f"{root}/{unit['path']}"
    data = _unchanged_file(fs, path, unit)
    if data is None:
        raise InputError(
            f"{path} is gone or has changed since this output was begun; "
            "put it back, or choose another output folder"
        )
    for name, image, label in _tar_images(data, unit["path"]):
        yield f"{unit['path']}/{name}", image, label


def _unchanged_file(fs: Any, path: str, unit: Unit) -> bytes | None:
    try:
        return unchanged(fs.cat_file(path), unit)
    except OSError:
        return None


def _file_of(key: str) -> str:
    found = _TAR.match(key)
    return found[1] if found else key


WEBDATASET = SourceKind(
    suffixes=frozenset({".tar"}), units=_units, rows=_rows, file_of=_file_of, rows_a_shard=1
)
