"""What outputs are put in: folders, and their like on object stores."""

import mmap
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.objects import RIGHTS, URL, ObjectPath, key_of, remove_objects

ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "azure": "az"}
FETCHED = 4096  # files of a process, whose places on disk are freed with it

Place = Path | ObjectPath


def place(text: str | Place) -> Place:
    """Return where ``text``, a path or a URL, leads. Raises InputError for URLs of other kinds."""
    if not isinstance(text, str):
        return text
    url = URL.fullmatch(text)
    if url is None or len(url[1]) < 2:
        return Path(text)
    scheme = ALIASES.get(url[1], url[1])
    if scheme in ("file", "local"):
        return Path(text.partition(":")[2].replace("//", "", 1))
    if scheme not in RIGHTS:
        raise InputError(f"{text} is of no kind that outputs can be of: {', '.join(RIGHTS)}, file")
    if not url[2] and scheme != "memory":
        raise InputError(f"{text} names no bucket; write it as in {scheme}://bucket/folder")
    return ObjectPath(f"{scheme}://{url[2]}", key_of(PurePosixPath(url[3].strip("/"))))


def remove_folder(folder: Place) -> None:
    """Remove ``folder`` with all below it; one that is not there is none to remove."""
    if isinstance(folder, ObjectPath):
        remove_objects([path for path, _ in folder.below()])
    else:
        shutil.rmtree(folder, ignore_errors=True)


def moved(place: Place, target: Place) -> None:
    """Give the file at ``place`` the place ``target``, in the stead of what is there."""
    if isinstance(place, ObjectPath) and isinstance(target, ObjectPath):
        place.replace(target)
    else:
        os.replace(str(place), str(target))


def version_of(place: Place) -> tuple[Any, ...]:
    """Return what is another once the file has changed. Raises FileNotFoundError."""
    facts = place.stat()
    if isinstance(facts, os.stat_result):
        return facts.st_mtime_ns, facts.st_size, facts.st_ino
    return tuple(facts)


def fetched(path: ObjectPath) -> mmap.mmap:
    """Return the object's bytes, which this process fetches once and which lie on its disk.

    Raises FileNotFoundError, or StoreError.
    """
    return _fetched(path, version_of(path))


@lru_cache(maxsize=FETCHED)
def _fetched(path: ObjectPath, version: tuple[Any, ...]) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        path.fetch(file)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def folders_in(folder: Place) -> list[Place]:
    """Return the folders in ``folder``, in order; none where it is not there."""
    if isinstance(folder, ObjectPath):
        return [*folder.folders()]
    return sorted(path for path in folder.glob("*") if path.is_dir())


def bytes_below(folder: Place) -> int:
    """Return the bytes of all files below ``folder``."""
    if isinstance(folder, ObjectPath):
        return sum(facts.st_size for _, facts in folder.below())
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class File(NamedTuple):
    """What a listing tells of a file."""

    size: int  # bytes
    modified: float  # seconds since the epoch


def files_in(folder: Place) -> dict[str, File]:
    """Return the files in ``folder`` by their names, in order; none where it is not there."""
    if isinstance(folder, ObjectPath):
        found = {path.name: File(facts.st_size, facts.st_mtime) for path, facts in folder.below()}
    else:
        entries = os.scandir(folder) if folder.is_dir() else ()
        files = ((entry.name, entry.stat()) for entry in entries if entry.is_file())
        found = {name: File(facts.st_size, facts.st_mtime) for name, facts in files}
    return {name: found[name] for name in sorted(found)}


def numbered_in(folder: Place) -> dict[str, File]:
    """Return what ``files_in`` does of a folder whose files are named by numbers, in any order."""
    if not isinstance(folder, ObjectPath):
        return files_in(folder)
    return {name: File(facts.st_size, facts.st_mtime) for name, facts in folder.numbered().items()}
