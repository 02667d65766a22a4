"""Shards done by a few processes of this machine: a small job's pool, there in a second.

concurrent.futures' pool runs the caller's script again in each of its processes, is broken as a
whole by the death of one, and lets those of a dead driver write on.
"""

import os
import pickle
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from queue import SimpleQueue
from threading import Thread
from traceback import format_exc
from typing import Any

import pyarrow as pa

from pipeline.core.errors import LostError, SluiceError
from pipeline.core.paths import path_error
from pipeline.core.progress import Heard, told_of
from pipeline.core.spread import ShardFunction, ShardPlan

RETRIES = 8  # of a shard whose worker died: it may stand behind one that kills
EVERY = 0.5  # seconds between a worker's tellings how far it is
MAIN = "from pipeline.core.processes import main; main()"
DIED = (
    "a worker died again and again, most likely for want of memory; run the same command again "
    "with fewer ray.workers: it goes on"
)
NOT_THERE = (
    f"no worker process could be started by {sys.executable}; run the same command with "
    "--workers 0, which needs none"
)


@dataclass(frozen=True)
class Failed:
    """What stopped a shard."""

    error: Exception


@dataclass(frozen=True)
class There:
    """A worker's first word: it has imported what it needs."""


class Processes:
    """Up to ``count`` workers on this machine, each a fresh interpreter that stays for next plans.

    They start with the first shards, and end when it is closed, or with this process.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []

    def close(self) -> None:
        """End the workers, whatever they are at."""
        while self._workers:
            self._workers.pop().close()

    def spread(
        self, plan: ShardPlan, shards: Sequence[int], heard: Heard | None = None
    ) -> Iterator[pa.Table]:
        """Yield what ``plan`` makes of each shard, in the order of finishing.

        ``plan`` is pickled and started once in each worker; one that dies is replaced and its shard
        done again. Raises what a shard function raised, LostError where the workers of a shard died
        again and again. Broken off, it ends its workers before it returns. ``heard`` is told how
        far the shards in hand are whenever a shard is waited for.
        """
        waiting, pickled = deque(shards), pickle.dumps(plan)
        used = self._idle(min(self.count, len(shards)))
        try:
            for worker in used:
                worker.take_plan(pickled)
                worker.take(waiting.popleft())
            yield from _results(used, waiting, heard)
        except BaseException:
            self.close()
            raise

    def _idle(self, count: int) -> list["_Worker"]:
        idle = [worker for worker in self._workers if worker.shard is None][:count]
        new = [_Worker() for _ in range(count - len(idle))]
        self._workers += new
        return idle + new


def _results(
    workers: Sequence["_Worker"], waiting: deque[int], heard: Heard | None
) -> Iterator[pa.Table]:
    deaths: Counter[int] = Counter()
    while busy := {worker.pipe: worker for worker in workers if worker.shard is not None}:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            shard, told = worker.shard, worker.told()
            assert shard is not None
            if told is None:
                deaths[shard] += 1
                if deaths[shard] > RETRIES:
                    raise LostError(DIED if worker.was_there else NOT_THERE)
                worker.replace()
            elif isinstance(told, There):
                worker.was_there = True
            elif isinstance(told, Failed):
                raise told.error
            elif isinstance(told, int):
                if heard is not None:
                    heard(shard, told)
            else:
                worker.take(waiting.popleft() if waiting else None)
                yield told


class _Worker:
    """One process, the plan it has, and the shard in its hand."""

    def __init__(self) -> None:
        self.plan = b""
        self.shard: int | None = None
        self.was_there = False
        self._start()

    def take_plan(self, pickled: bytes) -> None:
        self.plan = pickled
        self._send(pickled)

    def take(self, shard: int | None) -> None:
        self.shard = shard
        if shard is not None:
            self._send(shard)

    def told(self) -> pa.Table | int | Failed | There | None:
        """Return what it tells next: how far it is, or what it made; None where it has died."""
        try:
            told: pa.Table | int | Failed | There = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return told

    def replace(self) -> None:
        """Put another process in the place of one that has died, with the same in its hand."""
        self.close()
        self._start()
        self._send(self.plan)
        self.take(self.shard)

    def close(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.wait()

    def _send(self, what: Any) -> None:
        with suppress(OSError):  # it has died, which is told where it is listened to
            self.pipe.send(what)

    def _start(self) -> None:
        # A fresh interpreter, no fork: a copy of a process with threads may hang by itself.
        self.pipe, theirs = Pipe()
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", MAIN, str(theirs.fileno())],
            # One CPU a worker: what counts threads by this has one too.
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver, which ends its workers
        )
        theirs.close()


def main() -> None:
    """Do the shards that are asked for through the pipe named by its number, until it is closed."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    pipe.send(There())
    asked: SimpleQueue[bytes | int] = SimpleQueue()
    Thread(target=_listen, args=(pipe, asked), daemon=True).start()
    do: ShardFunction | None = None
    while True:
        what = asked.get()
        try:
            if isinstance(what, bytes):
                do = None  # what the last plan held is let go before another is started
                do = pickle.loads(what).start()
            elif do is not None:
                with told_of(what, _teller(pipe)):
                    table = do(what)
                pipe.send(table)
        except Exception as error:
            pipe.send(Failed(_told(error)))


def _listen(pipe: "Connection[Any, Any]", asked: "SimpleQueue[bytes | int]") -> None:
    with suppress(EOFError, OSError):
        while True:
            asked.put(pipe.recv())
    os._exit(0)  # the driver is gone, and with it the lock under which a shard may be written


def _teller(pipe: "Connection[Any, Any]") -> Callable[[int, int], None]:
    last = time.monotonic()

    def tell(shard: int, rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            pipe.send(rows)

    return tell


def _told(error: Exception) -> Exception:
    """Return what the driver raises for an error here: a user's mistake as it is."""
    if isinstance(error, SluiceError):
        return error
    if isinstance(error, OSError) and (told := path_error(error)):
        return told
    return RuntimeError(f"in a worker: {format_exc()}")
