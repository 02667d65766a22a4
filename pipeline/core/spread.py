"""The seam between what is done to a shard and where shards are done: a plan, and its spreader."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

import pyarrow as pa

from pipeline.core.progress import Heard, told_of
from pipeline.core.side_by_side import in_order

T = TypeVar("T")

ShardFunction = Callable[[int], pa.Table]


class ShardPlan(Protocol):
    """All a worker needs to do any shard: pickled, sent once to each, and started there.

    What a shard function returns has the columns of ``shard_stats``, at least ``shard`` and
    ``rows``. One that takes long tells how far it is by ``pipeline.core.progress.advance``. One
    that several threads may call says by ``in_hand`` how many: while one works at its shard, the
    next may be read and the last written.
    """

    @property
    def name(self) -> str:
        """Return what is done, in a word: the stage in the metrics, the text of a bar."""
        ...

    def start(self) -> ShardFunction:
        """Load what all shards need; return the function that does one."""
        ...


Spread = Callable[[ShardPlan, Sequence[int]], Iterator[pa.Table]]


class Spreading(Protocol):
    """Gives a spreader whose answers' ``rows`` add up to ``total`` of ``unit``, for a bar.

    ``here``: in this process, which ends few images sooner than workers would have started.
    """

    def __call__(self, total: int, unit: str = "img", *, here: bool = False) -> Spread: ...


class NearGpu(Protocol):
    """Calls ``work`` where a GPU is, if ``backend`` needs one."""

    def __call__(self, backend: str, work: Callable[[], T]) -> T: ...


def in_hand(plan: ShardPlan) -> int:
    """Return how many shards a worker of ``plan`` has in hand at once."""
    return int(getattr(plan, "in_hand", 1))


class BrokenOff(BaseException):
    """Nobody waits for the shard in hand any more."""


def in_process(
    plan: ShardPlan, shards: Sequence[int], heard: Heard | None = None
) -> Iterator[pa.Table]:
    """Yield what ``plan`` makes of each shard, in their order, in this process.

    ``heard`` is told how far the shards in hand are. Broken off, it waits for those that several
    threads have in hand, which end where they next tell how far they are.
    """
    if not shards:
        return
    process, left = plan.start(), Event()

    def told(shard: int, rows: int) -> None:
        if left.is_set():
            raise BrokenOff
        if heard is not None:
            heard(shard, rows)

    def do(shard: int) -> pa.Table:
        with told_of(shard, told):
            return process(shard)

    if in_hand(plan) == 1:
        yield from map(do, shards)
        return
    with ThreadPoolExecutor(in_hand(plan)) as pool:
        try:
            yield from in_order(pool, do, shards, in_hand(plan))
        finally:
            left.set()
