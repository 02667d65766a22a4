"""The seam between what is done to a shard and where shards are done: a plan, and its spreader."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

from pipeline.core.progress import Heard, told_of

T = TypeVar("T")

ShardFunction = Callable[[int], pa.Table]


class ShardPlan(Protocol):
    """All a worker needs to do any shard: pickled, sent once to each, and started there.

    What a shard function returns has the columns of ``shard_stats``, at least ``shard`` and
    ``rows``. One that takes long tells how far it is by ``pipeline.core.progress.advance``.
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


def in_process(
    plan: ShardPlan, shards: Sequence[int], heard: Heard | None = None
) -> Iterator[pa.Table]:
    """Yield what ``plan`` makes of each shard, one after the other in this process.

    ``heard`` is told how far the shard in hand is.
    """
    if shards:
        process = plan.start()
        for shard in shards:
            with told_of(shard, heard):
                result = process(shard)
            yield result
