"""Work side by side, its results in order: for what waits for answers, not for this machine."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from pipeline.core.folder import Place
from pipeline.core.objects import AT_ONCE, ObjectPath

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    pool: Executor, work: Callable[[T], R], items: Iterable[T], at_once: int
) -> Iterator[R]:
    """Yield ``work`` of each of ``items`` in their order, ``at_once`` of them in hand."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == at_once:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def side_by_side(folder: Place, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``work`` of each of ``items`` in their order, where ``folder`` is what it asks.

    On an object store AT_ONCE are asked for at once; from a disk they come one after the other.
    """
    if not isinstance(folder, ObjectPath):
        yield from map(work, items)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from in_order(pool, work, items, AT_ONCE)
