"""The times of the parts of a piece of work."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stopwatch:
    """Seconds of wall time by part, summed where a part comes again; it starts when it is made."""

    def __init__(self) -> None:
        self.started = time.time()  # seconds since the epoch
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the block as part ``name``."""
        began = time.time()
        yield
        self.seconds[name] += time.time() - began

    def timed(self, name: str, work: Callable[[T], R]) -> Callable[[T], R]:
        """Return ``work``, each call of which is timed as part ``name``."""

        def timed_work(argument: T) -> R:
            with self.part(name):
                return work(argument)

        return timed_work
