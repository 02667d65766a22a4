"""A core of its own for each worker on this machine, as each would have on one of its own."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.spread import ShardFunction, ShardPlan


@dataclass(frozen=True)
class OnOwnCore:
    """``plan``, for which each process first moves to a core that no other has taken.

    ``taken`` is a folder, made where there is none, with a file for each core taken. Where all
    are, or the system cannot do it, the process stays on all cores.
    """

    plan: ShardPlan
    taken: Path

    @property
    def name(self) -> str:
        return self.plan.name

    def start(self) -> ShardFunction:
        """Move this process with all its threads, then start the plan."""
        core = take_core(self.taken)
        if core is not None:
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # one may have ended since
                    os.sched_setaffinity(int(thread), {core})
        return self.plan.start()


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
