"""What can be wrong with a path that a user gives: each with a remedy."""

import errno
import os
import stat
import uuid
from pathlib import Path

from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.objects import ObjectPath

FULL = "free some space or choose another folder, then run the same command again"
RIGHT = "ask for the right to read and write it and what is in it, or name another"
REMEDIES = {
    errno.EACCES: RIGHT,
    errno.EPERM: RIGHT,
    errno.EROFS: "choose another folder",
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.ENOTDIR: "choose another folder",
    errno.EEXIST: "choose another folder",
    errno.EISDIR: "name a file",
    errno.ELOOP: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EINVAL: "choose another name",
    errno.EIO: "look after the disk, then run the same command again",
    errno.ESTALE: "run the same command again",
}


def path_error(error: OSError, path: Path | None = None) -> StoreError | None:
    """Return ``error`` as one of a user's: the path (none: its own), the reason, a remedy.

    None where it is of another kind.
    """
    remedy = REMEDIES.get(error.errno or 0)
    named = path or (Path(os.fsdecode(error.filename)) if error.filename else None)
    if remedy is None:
        return None
    if named is None:  # Arrow's, which have the path in their text
        return StoreError(f"{str(error).splitlines()[0]}; {remedy}")
    reason = error.strerror
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        reason = f"{_in_the_way(named)} is no folder"
    return StoreError(f"cannot use {named}: {reason}; {remedy}")


def _in_the_way(path: Path) -> Path:
    above = (path, *path.parents)
    return next((p for p in above if os.path.lexists(p) and not os.path.isdir(p)), path)


def refuse_unwritable(folder: Place) -> None:
    """Make ``folder`` where it is not there; raise StoreError where nothing can be put into it."""
    if isinstance(folder, ObjectPath):
        trial = folder / f".{uuid.uuid4().hex}.tmp-trial"
        trial.put(b"")
        trial.unlink()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not may_write(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise path_error(error, folder) or error from error


def may_write(folder: Place) -> bool:
    """Return whether files may be put into ``folder``; of an object store's only putting tells."""
    if isinstance(folder, ObjectPath):
        return True
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def refuse_special(path: Place) -> None:
    """Raise StoreError where ``path`` is a folder, a device or a pipe: no file may replace it."""
    if isinstance(path, ObjectPath):
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path} is no ordinary file; name another output")
