"""Files that are there whole or not at all, with checksums that tell of a changed byte."""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.lease import confirm_held
from pipeline.core.objects import ObjectPath
from pipeline.core.paths import path_error, refuse_special

FORMAT_VERSION = 4  # of all files here: a store with a larger one is refused
SEAL = "checksum_of_the_rest"


def checksum(data: bytes) -> str:
    """Return the 32 hexadecimal digits of the 128-bit BLAKE2b digest of ``data``."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def checksum_at(path: Place) -> str:
    """Return the ``checksum`` of a file, of which a part at a time stands in memory.

    Raises FileNotFoundError, OSError, or StoreError.
    """
    if isinstance(path, ObjectPath):
        digest = _Digest()
        path.fetch(digest)
        return digest.state.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _state).hexdigest()


def _state() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


class _Digest(io.BytesIO):
    """Digests what is written to it, from its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.state = _state()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.state = _state()
        return 0

    def write(self, data: Any) -> int:
        self.state.update(data)
        return len(data)


def write_atomically(path: Place, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, flush it to disk, rename it.

    An object is put in one request, under the condition that nothing is there, or that what is has
    not changed since it was read: of two writers one is told.

    A file that holds ``data`` already is left alone: a job with nothing to do needs no right to
    write. Raises StoreError where the disk is full, where the folder cannot be written to, where
    ``path`` is no ordinary file, which a rename would put out of the way, and where another job
    writes the object, or has taken over its folder.
    """
    if isinstance(path, ObjectPath):
        _put(path, data)
        return
    path = Path(os.path.realpath(path))  # a link stays one, to what is written
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        if _holds(path, data):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise path_error(error, path) or error from error
        raise


def _put(path: ObjectPath, data: bytes) -> None:
    confirm_held(path)
    if path.put(data):
        return
    try:
        there, version = path.read_tagged()
    except FileNotFoundError:
        there, version = b"", None
    if there == data:  # also where an answer was lost and the request was sent again
        return
    confirm_held(path)
    if not path.put(data, version) and path.read_bytes() != data:
        raise StoreError(
            f"another job has written {path} meanwhile; wait for it, then run the same command "
            "again"
        )


def _holds(path: Path, data: bytes) -> bool:
    refuse_special(path)
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def read_recorded(path: Place, recorded: str, remedy: str) -> bytes:
    """Return the bytes of ``path``; StoreError unless ``recorded`` is their checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    if checksum(data) != recorded:
        raise StoreError(f"{path} does not have its recorded checksum; {remedy}")
    return data


def _refuse_newer(path: Place, version: int) -> None:
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{path} has format {version}, made by a newer Sluice; "
            f"this one reads up to {FORMAT_VERSION}: upgrade Sluice"
        )


def _seal(value: Mapping[str, Any]) -> str:
    # Without indents Python's quick encoder does it: a manifest is sealed anew with every reading.
    return checksum(json.dumps(value, sort_keys=True).encode())


def sealed(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as JSON that holds its own checksum."""
    whole = {**value, SEAL: _seal(value)}
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


def opened(path: Place) -> dict[str, Any]:
    """Return what was sealed; StoreError where it is newer, ValueError where it has changed."""
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    _refuse_newer(path, value.get("format", 0))
    if value.pop(SEAL, None) != _seal(value):
        raise ValueError("it does not have its own checksum")
    return value
