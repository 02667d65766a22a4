"""One job at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.core.errors import StoreError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for writing. Raises StoreError where another running job holds it.

    The operating system frees the lock of a killed process.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise StoreError(
            f"another job is writing {folder}; wait for it, or choose another output folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
