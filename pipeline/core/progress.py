"""How far a shard is while it is being done: its function tells, and a bar may listen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Heard = Callable[[int, int], None]  # takes (a shard, how many of its rows are done)

_tell: ContextVar[Callable[[int], None] | None] = ContextVar("tell", default=None)


def advance(rows: int) -> None:
    """Tell that ``rows`` more of the shard in hand are done; where nobody listens it is no matter.

    It is heard in the thread that calls the shard function, not in others.
    """
    tell = _tell.get()
    if tell is not None:
        tell(rows)


@contextmanager
def told_of(shard: int, heard: Heard | None) -> Iterator[None]:
    """Let ``heard`` know of each advance in the block, which does ``shard``."""
    done = 0

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        if heard is not None:
            heard(shard, done)

    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)
