"""The times of the parts of a piece of work."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stopwatch:
    """Seconds of wall time by part, summed where a part comes again; it starts when it is made.

    Parts may be timed in several threads, but one part in one thread at a time.
    """

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

    def items(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items``; the time they take to come is timed as part ``name``."""
        coming = iter(items)
        while True:
            with self.part(name):
                item = next(coming, self)
            if isinstance(item, Stopwatch):  # itself stands for the end
                return
            yield item
