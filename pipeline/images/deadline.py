"""A time limit an image: the process that holds one for longer ends itself."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.errors import LostError

SECONDS_AN_IMAGE = 60.0
TICK = 1.0  # seconds


class Deadline:
    """Ends this process once an image is held for ``seconds``; nothing else stops a decoder.

    A thread counts, by its own ticks: a process that was stopped and goes on has not been late.
    Where a decoder never lets go of Python's lock, the thread cannot count, and a timer of the
    kernel that it sets anew at every tick ends the process after twice the seconds of CPU.
    """

    def __init__(self, seconds: float, overdue: Callable[[int], None]) -> None:
        self.seconds = seconds
        self.overdue = overdue  # called with the image's id before the end
        self.tick = min(TICK, seconds / 4)
        self._most = 2 * (seconds + self.tick)  # of CPU
        self._held: dict[int, str] = {}
        self._ages: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)

    def __enter__(self) -> "Deadline":
        _set_timer(self._most)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        _set_timer(0)

    @contextmanager
    def of(self, image: int, key: str) -> Iterator[None]:
        """Hold an image for the length of the block."""
        self._held[image], self._ages[image] = key, 0.0
        try:
            yield
        finally:
            del self._ages[image], self._held[image]

    def _watch(self) -> None:
        while not self._done.wait(self.tick):
            _set_timer(self._most)
            for image, age in list(self._ages.items()):
                if age > self.seconds:
                    self._end(image)
                if image in self._ages:
                    self._ages[image] = age + self.tick

    def _end(self, image: int) -> None:
        key = self._held.get(image)
        if key is None:
            return
        self.overdue(image)
        print(
            f"{key} takes more than {self.seconds:g} s to decode (embed.seconds_an_image); run the "
            "same command again: it goes on, and tries this image apart",
            file=sys.stderr,
            flush=True,
        )
        os._exit(LostError.exit_code)


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
