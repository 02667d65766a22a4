"""A folder of an object store held by one job: an object that its holder renews.

The holder is dead once the lease stayed the same for LAPSED seconds of another's own clock: no two
clocks are compared. Whoever takes it over raises its number, under the condition that it is still
the one that was seen; so does each renewal, and a holder that was thought dead learns of it there.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.core.errors import StoreError
from pipeline.core.objects import ObjectPath

LEASE = ".lease"
RENEWED = 5.0  # seconds between a holder's renewals
LAPSED = 30.0  # seconds without one, after which another may take the lease
HELD: "dict[ObjectPath, Lease]" = {}  # by this process


class Lease:
    """A lease of ``folder`` that is held, and renewed by a thread of its own."""

    def __init__(self, folder: ObjectPath, number: int) -> None:
        self.folder, self.number = folder, number
        self.owner = {"host": socket.gethostname(), "process": os.getpid(), "id": uuid.uuid4().hex}
        self._writing, self._ended = threading.Lock(), threading.Event()
        self._lost = False
        self._version: Any = None
        self._renewed = time.monotonic()

    def take(self, version: Any | None) -> bool:
        """Put the lease where ``version`` is there still (None: nothing); return whether it is."""
        began, mine = time.monotonic(), self._bytes()
        put = self._place.put_tagged(mine, version)
        if put is None:  # a put that was sent again may have met itself
            there, put = self._place.read_tagged()
            if there != mine:
                return False
        self._version, self._renewed = put, began
        return True

    def confirm(self) -> None:
        """Raise StoreError where the lease is no longer held; renew it where that is not sure."""
        if time.monotonic() - self._renewed > 2 * RENEWED:
            self._renew()
        if self._lost:
            raise StoreError(
                f"another job has taken over {self.folder}, for this one was not heard of for "
                f"{LAPSED:g} s; wait for it, then run the same command again"
            )

    def keep(self) -> None:
        """Renew the lease until it is ended or lost; what fails for a moment is tried again."""
        while not self._lost and not self._ended.wait(RENEWED):
            with suppress(StoreError, OSError):
                self._renew()

    def end(self) -> None:
        """Leave the lease to others at once."""
        self._ended.set()
        with self._writing, suppress(StoreError, OSError):
            if not self._lost:
                self._place.put(self._bytes(ended=True), self._version)

    def _renew(self) -> None:
        with self._writing:
            if self._lost or self._ended.is_set():
                return
            self.number += 1
            self._lost = not self.take(self._version)

    @property
    def _place(self) -> ObjectPath:
        return self.folder / LEASE

    def _bytes(self, ended: bool = False) -> bytes:
        return json.dumps({"number": self.number, "ended": ended, **self.owner}).encode()


@contextmanager
def leased(folder: ObjectPath) -> Iterator[None]:
    """Hold ``folder`` for writing. Raises StoreError where another running job holds it.

    One that is not heard of for LAPSED seconds runs no more.
    """
    lease = _taken(folder)
    HELD[folder] = lease
    threading.Thread(target=lease.keep, daemon=True).start()
    try:
        yield
    finally:
        HELD.pop(folder, None)
        lease.end()


def confirm_held(path: ObjectPath) -> None:
    """Raise StoreError where this process held what holds ``path``, and holds it no more."""
    for folder, lease in list(HELD.items()):
        if str(path).startswith(f"{folder}/"):
            lease.confirm()


def _taken(folder: ObjectPath) -> Lease:
    seen: dict[str, Any] | None = None
    waited = time.monotonic()
    while True:
        there, version = _read(folder)
        if (
            there is None
            or there["ended"]
            or (there == seen and time.monotonic() - waited > LAPSED)
        ):
            lease = Lease(folder, there["number"] + 1 if there else 1)
            if lease.take(version):
                _refuse_unconditional(folder)
                return lease
        elif seen is not None and there != seen:
            raise StoreError(
                f"another job is writing {folder} (process {there['process']} on {there['host']}); "
                "wait for it, or choose another output folder"
            )
        seen = there
        time.sleep(RENEWED / 5)


def _refuse_unconditional(folder: ObjectPath) -> None:
    """Raise StoreError where a server puts what it was asked to put on a condition alone."""
    if (folder / LEASE).put(b"{}"):
        raise StoreError(
            f"the server of {folder} heeds no conditions on puts (If-None-Match), without which "
            "two jobs could write there at once; name another"
        )


def _read(folder: ObjectPath) -> tuple[dict[str, Any] | None, Any]:
    try:
        data, version = (folder / LEASE).read_tagged()
    except FileNotFoundError:
        return None, None
    try:
        return dict(json.loads(data)), version
    except ValueError as error:
        raise StoreError(f"{folder / LEASE} is damaged ({error}); delete it") from error
