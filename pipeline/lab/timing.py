"""Timing ways of doing one thing, side by side."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import t

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


def middle_with_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the geometric mean of repeats with its 95 % interval, by Student's t on logarithms.

    Of a single value, and where one is zero, there is no interval; the middle is then the median.
    """
    if len(values) < 2 or min(values) <= 0:
        return float(np.median(values)), None, None
    logs = np.log(values)
    middle, spread = float(logs.mean()), float(logs.std(ddof=1)) / len(logs) ** 0.5
    half = float(t.ppf(0.975, len(logs) - 1)) * spread
    low, most, high = np.exp([middle - half, middle, middle + half]).tolist()
    return most, low, high
