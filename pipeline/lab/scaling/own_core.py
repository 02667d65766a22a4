"""A core of its own for each worker on this machine, as each would have on one of its own."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def on_own_core(start: Callable[[], T], taken: Path) -> Callable[[], T]:
    """Return ``start`` that first moves its process to a core which no other has taken.

    ``taken`` is a folder, made where there is none, with a file for each core taken. Where all
    are, or the system cannot do it, the process stays on all cores.
    """

    def started() -> T:
        core = take_core(taken)
        if core is not None:
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # one may have ended since
                    os.sched_setaffinity(int(thread), {core})
        return start()

    return started


def take_core(taken: Path) -> int | None:
    """Return a core that nobody has taken, now taken, or None."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    taken.mkdir(parents=True, exist_ok=True)
    for core in sorted(os.sched_getaffinity(0)):
        try:
            (taken / str(core)).touch(exist_ok=False)
        except FileExistsError:
            continue
        return core
    return None
