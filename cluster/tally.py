"""How far the workers are with their shards, gathered by one small actor that the driver asks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import ray

from pipeline.core.progress import Heard

EVERY = 0.5  # seconds between a worker's tellings, and between the driver's questions
PATIENCE = 1.0  # seconds that the driver waits for an answer


class Tally:
    """What workers have told since it was last asked: how many rows of a shard are done."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}

    def tell(self, shard: int, rows: int) -> None:
        self.rows[shard] = rows

    def take(self) -> dict[int, int]:
        told, self.rows = self.rows, {}
        return told


def teller(tally: Any) -> Heard:
    """Return what tells the actor ``tally``, every so often, and waits for nothing.

    A tally that is lost loses a job nothing: what is told to it goes nowhere.
    """
    last = 0.0

    def tell(shard: int, rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            tally.tell.remote(shard, rows)

    return tell


@contextmanager
def listening(heard: Heard | None) -> Iterator[Any]:
    """Give the tally whose counts ``heard`` gets while the block runs; None where nobody listens.

    Where the tally dies it is begun anew.
    """
    if heard is None:
        yield None
        return
    tally: Any = ray.remote(num_cpus=0, max_restarts=-1)(Tally).remote()
    ended = Event()

    def ask() -> None:
        while not ended.wait(EVERY):
            with suppress(ray.exceptions.RayError):
                for shard, rows in ray.get(tally.take.remote(), timeout=PATIENCE).items():
                    heard(shard, rows)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield tally
    finally:
        ended.set()
        asking.join()
        # What refers to it may live on for long, and each is a process.
        with suppress(ray.exceptions.RayError):
            ray.kill(tally)
