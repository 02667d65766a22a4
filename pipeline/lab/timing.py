"""Timing ways of doing one thing, side by side."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Work = Callable[[], object]


def seconds_of(work: Work) -> float:
    """Return the wall seconds that ``work()`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(ways: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every way by name, one a round.

    All take turns in each round, so that a slow minute of the machine meets them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            taken[name].append(seconds_of(work))
    return taken


def middle_and_ends(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the least and the most of ``values``."""
    return float(np.median(values)), min(values), max(values)
