"""The images in a WebDataset tar."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipeline.core.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def tar_images(data: bytes, path: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield (member name, bytes, label) of a WebDataset tar's images; the label is its .cls file.

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
