"""WebDataset tars: each is a unit and a shard; a sample's label is its .cls file."""

import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.images.kinds.kind import Found, Opened, SourceKind, Unit, labelled

if TYPE_CHECKING:
    import pyarrow as pa


def _batches(source: Opened, units: list[Unit], rows: int) -> Iterator["pa.Table"]:
    yield labelled([])
    for unit in units:
        images = _tar_images(source.fs, source.at(unit["path"]), unit)
        while some := list(islice(images, rows)):
            yield labelled(some)


def _tar_images(fs: Any, path: str, unit: Unit) -> Iterator[Found]:
    """Yield a tar's images; what a damaged one holds before the damage, and then the damage.

    Members of one sample share the name up to its first dot.
    """
    name, revision = unit["path"], unit["revision"]
    try:
        with fs.open(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members, damage = _members(tar)
            last = {member.name: member for member in members}
            for member in members:
                if not _is_image(tar, member):
                    continue
                key = f"{name}/{_printable(member.name)}"
                if last[member.name] is not member:
                    told = "replaced: a later member of the tar has its name"
                    yield Found(f"{key}@{member.offset}", name, None, "", revision, told)
                    continue
                label = _text(tar, last.get(_label_name(member.name)))
                data = _bytes(tar, member)
                if len(data) < _size(tar, member):
                    damage = f"{_printable(member.name)} is cut off"
                    break
                yield Found(key, name, data, label, revision)
    except FileNotFoundError:
        return
    except (tarfile.TarError, EOFError) as error:
        damage = str(error)
    if damage:
        yield Found(name, name, None, "", revision, f"damaged: {damage}")


def _is_image(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Return whether a member is one by its name's suffix, else by its first bytes.

    No checksum covers a name of more than 100 characters.
    """
    from pipeline.images.by_pillow import FIRST_BYTES

    if PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES:
        return True
    return _bytes(tar, member, 16).startswith(FIRST_BYTES)


def _printable(name: str) -> str:
    """Return a member's name, with \\xe9 for a byte that is not UTF-8."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _members(tar: tarfile.TarFile) -> tuple[list[tarfile.TarInfo], str]:
    """Return a tar's files in their order, and what is wrong with the rest of it."""
    members: list[tarfile.TarInfo] = []
    try:
        while (member := tar.next()) is not None:
            if member.isfile() or member.islnk():
                members.append(member)
    except tarfile.TarError as error:
        return members, str(error)
    return members, "" if _has_end(tar) else "its end mark is missing"


def _has_end(tar: tarfile.TarFile) -> bool:
    """Return whether the block at which reading stopped is the zeros that end a tar.

    tarfile takes a damaged header after the first member for the end, without a word.
    """
    file: Any = tar.fileobj
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    return len(block) == tarfile.BLOCKSIZE and not any(block)


def _label_name(name: str) -> str:
    base = PurePosixPath(name)
    return str(base.with_name(base.name.split(".")[0] + ".cls"))


def _size(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    return tar._find_link_target(member).size if member.islnk() else member.size  # type: ignore[attr-defined]


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int = -1) -> bytes:
    try:
        file = tar.extractfile(member)
        return file.read(most) if file else b""
    except (tarfile.ReadError, KeyError):  # cut off within it, or a link to what is not there
        return b""


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> str:
    return _bytes(tar, member).decode(errors="replace").strip() if member else ""


WEBDATASET = SourceKind(
    suffixes=frozenset({".tar"}),
    batches=_batches,
    rows_a_file=None,
    files_a_shard=1,
)
