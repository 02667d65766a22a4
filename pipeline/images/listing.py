"""The list of a source's files: what is there, and what is left out and why. No file is read."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

LISTERS = 16
FILES = pa.schema(
    [
        ("path", pa.string()),  # below the source's root
        ("bytes", pa.int64()),  # null: unknown
        ("version", pa.string()),  # null: unknown; another one: the file may have changed
        ("suffix", pa.string()),  # in lower case, with its dot; empty where there is none
    ]
)
ANOTHER_NAME = "another name of a file listed already"
# What photo managers and archivers put beside the photos: smaller copies, and no photos at all.
THUMBNAIL_FOLDERS = frozenset({"@eaDir", "__MACOSX", ".thumbs", ".thumbnails"})
# What filesystems call a file's version, the most telling first.
VERSIONS = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "last_modified", "CRC")


class File(NamedTuple):
    """A file as a listing gives it."""

    path: str  # below the source's root
    bytes: int | None
    version: str | None
    suffix: str
    identity: tuple[int, int] | str | None = None  # the same for all names of one file
    link: bool = False
    folder: int = 0  # its place among the folders listed


@dataclass(frozen=True)
class Listing:
    """The files of a source, in FILES' schema by path, and how many others lie there, by reason."""

    files: pa.Table
    left_out: Counter[str] = field(default_factory=Counter)


def list_files(fs: Any, root: str, exclude: Iterable[str] = ()) -> Listing:
    """List what lies below ``root`` on ``fs``, as ``list_folders`` does."""
    return list_folders(fs, [(root, None)], exclude)


def list_folders(
    fs: Any, folders: Sequence[tuple[str, str | None]], exclude: Iterable[str] = ()
) -> Listing:
    """List what lies on ``fs`` below ``folders``: each a root, and the one file that is meant.

    Paths are below the first root; those in other folders are from the root of ``fs``, and begin
    with a slash. Hidden files, folders of thumbnails, and names that match one of ``exclude`` (as
    "*/raw/*") are left out, as are further names of a file that is listed already. Linked folders
    are entered once. Raises OSError where a root itself cannot be read.
    """
    left_out: Counter[str] = Counter()
    files: list[File] = []
    for place, (root, only) in enumerate(folders):
        mine = [
            file
            for file in _found(fs, root, only, left_out)
            if not (reason := _reason(file.path, exclude)) or left_out.update([reason])
        ]
        files += mine if len(folders) == 1 else [_among(file, root, place) for file in mine]
    files = sorted(_one_name_each(files, left_out))
    columns = zip(*files, strict=True) if files else [[]] * len(File._fields)
    return Listing(pa.table(list(columns)[: len(FILES)], schema=FILES), left_out)


def _found(fs: Any, root: str, only: str | None, left_out: Counter[str]) -> Iterable[File]:
    from fsspec.implementations.local import LocalFileSystem  # here, as in urls.py

    local = isinstance(fs, LocalFileSystem)
    if only is None:
        return _walk_local(root, left_out) if local else _walk_remote(fs, root)
    if not local:
        return [_remote_file(only, fs.info(f"{root}/{only}"))]
    file = _local_file(Path(root, only), only, left_out)
    return [file] if file else []


def _among(file: File, root: str, place: int) -> File:
    """Return a file as one of several folders' names it; ``place`` is its folder's."""
    whole = f"/{root}/{file.path}".replace("//", "/", 1)
    path = whole if place else file.path
    return file._replace(path=path, identity=file.identity or whole, folder=place)


def of_first_folder(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return bool (n,): whether each of ``paths``, as ``list_folders`` gives them, is below it."""
    return pc.invert(pc.starts_with(paths, "/"))


def _reason(path: str, exclude: Iterable[str]) -> str | None:
    """Return why ``path`` is left out, None where it is not."""
    if not THUMBNAIL_FOLDERS.isdisjoint(path.split("/")[:-1]):
        return "in a folder of thumbnails"
    if "/." in f"/{path}":
        return "hidden"
    if exclude and any(fnmatch(path, pattern) for pattern in exclude):
        return "excluded by source.exclude"
    return None


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _one_name_each(files: list[File], left_out: Counter[str]) -> list[File]:
    """Return ``files`` with one name of each: the first folder's, one that is no link, by path."""
    seen: set[tuple[int, int] | str] = set()
    kept = []
    for file in sorted(files, key=lambda file: (file.folder, file.link, file.path)):
        if file.identity in seen:
            left_out[ANOTHER_NAME] += 1
            continue
        if file.identity:
            seen.add(file.identity)
        kept.append(file)
    return kept


def _walk_local(root: str, left_out: Counter[str]) -> Iterator[File]:
    entered: set[tuple[int, int]] = set()
    # Folders by their own names first: what they hold goes by those names.
    folders, linked = [(root, "")], list[tuple[str, str]]()
    while folders or linked:
        folder, below = folders.pop() if folders else linked.pop(0)
        try:
            here = os.stat(folder)
            if (here.st_dev, here.st_ino) in entered:
                left_out["another name of a folder listed already"] += 1
                continue
            entered.add((here.st_dev, here.st_ino))
            entries = list(os.scandir(folder))
        except OSError as error:
            if folder == root:
                raise
            left_out[f"a folder that cannot be read ({error.strerror})"] += 1
            continue
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{below}{entry.name}"
            if not _is_text(entry.name):
                left_out["a name that is not UTF-8"] += 1
            elif entry.is_dir():
                (linked if entry.is_symlink() else folders).append((entry.path, f"{path}/"))
            elif (file := _local_file(entry, path, left_out)) is not None:
                yield file


def _local_file(entry: "os.DirEntry[str] | Path", path: str, left_out: Counter[str]) -> File | None:
    try:
        facts = entry.stat()
    except OSError as error:
        broken = entry.is_symlink() and isinstance(error, FileNotFoundError)
        left_out["a broken link" if broken else f"cannot be read ({error.strerror})"] += 1
        return None
    if not stat.S_ISREG(facts.st_mode):
        left_out["no ordinary file"] += 1
        return None
    identity = (facts.st_dev, facts.st_ino)
    version = str(facts.st_mtime_ns)
    return File(path, facts.st_size, version, _suffix(path), identity, entry.is_symlink())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk_remote(fs: Any, root: str) -> Iterator[File]:
    """List the folders below ``root`` side by side, each with what is below it."""
    entries = fs.ls(root, detail=True)
    folders = [entry["name"] for entry in entries if entry["type"] == "directory"]
    with ThreadPoolExecutor(LISTERS) as pool:
        below = pool.map(lambda folder: fs.find(folder, detail=True), folders)
        found = {entry["name"]: entry for entry in entries if entry["type"] == "file"}
        for part in below:
            found |= part
    start = len(root) + 1 if root else 0
    for path, facts in found.items():
        yield _remote_file(path[start:].lstrip("/"), facts)


def _remote_file(path: str, facts: dict[str, Any]) -> File:
    version = next((str(facts[name]) for name in VERSIONS if facts.get(name)), None)
    size = facts.get("size")
    return File(path, None if size is None else int(size), version, _suffix(path))
