"""One job at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.lease import leased
from pipeline.core.objects import ObjectPath


@contextmanager
def locked(folder: Place) -> Iterator[None]:
    """Hold ``folder`` for writing. Raises StoreError where another running job holds it.

    The operating system frees the lock of a killed process; of an object store's see ``leased``.
    """
    if isinstance(folder, ObjectPath):
        with leased(folder):
            yield
        return
    from filelock import FileLock, Timeout  # here, for whoever but reads locks nothing

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
