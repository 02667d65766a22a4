"""A pool of workers as a discrete-event model: start-up, tasks given out by turns, stragglers.

One driver gives out one shard at a time and takes one answer at a time; workers start on machines
of their own and share nothing but the driver. What the network and a file system add is not in it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import simpy
from scipy.optimize import nnls

PATIENCE = 0.01  # time that gets less than this share shorter is not worth a doubling


@dataclass(frozen=True)
class Calibration:
    """What was measured of real runs, in seconds.

    ``start_up`` is of a pool, whatever its size, ``start_up_a_worker`` what each worker on the same
    machine adds for all of them, ``stagger`` how much later than the one before each of them
    begins; ``overhead`` is the driver's turn for a shard, ``merge`` for an answer. ``stragglers``
    are the measured durations of shards divided by their median.
    """

    start_up: float
    start_up_a_worker: float
    stagger: float
    overhead: float
    merge: float
    drain: float
    stragglers: tuple[float, ...]


@dataclass(frozen=True)
class Simulated:
    """Seconds of a simulated run."""

    workers: int
    start_up: float
    work: float
    wall: float


def calibrate(runs: Sequence[pa.Table]) -> Calibration:
    """Take the model's parts from the tasks of measured runs, as ``run_phases`` takes them.

    The overhead is the median wait of a worker between two shards. The workers' beginnings are
    fitted by least squares, with no part of them below zero. Raises ValueError without a run.
    """
    if not runs:
        raise ValueError("a calibration needs at least one measured run")
    begun, waits, merges, drains, ratios = [], [], [], [], []
    for run in runs:
        column = {name: run[name].to_numpy(zero_copy_only=False) for name in run.column_names}
        names = np.unique(column["worker"])
        begun.append(_beginnings(column))
        drains.append(column["finished"][0] - column["ended"].max())
        merges += column["merge"].tolist()
        seconds = (column["ended"] - column["started"]) / column["rows"]
        ratios += (seconds / np.median(seconds)).tolist()
        for name in names:
            mine = np.argsort(column["started"][column["worker"] == name])
            begins, ends = (column[c][column["worker"] == name][mine] for c in ("started", "ended"))
            waits += (begins[1:] - ends[:-1]).tolist()
    kept = np.quantile(ratios, np.linspace(0, 1, 101))
    wait = float(np.median(waits)) if waits else 0.0
    middle = float(np.median(merges)), float(np.median(drains))
    return Calibration(*_fitted_beginnings(begun), wait, *middle, tuple(kept.tolist()))


def _beginnings(column: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return when each worker began its first shard, in ascending order, seconds into the run."""
    _, worker = np.unique(column["worker"], return_inverse=True)
    first = np.full(worker.max() + 1, np.inf)
    np.minimum.at(first, worker, column["started"])
    sooner: np.ndarray[Any, Any] = np.sort(first) - column["began"][0]
    return sooner


def _fitted_beginnings(begun: list[np.ndarray[Any, Any]]) -> tuple[float, float, float]:
    """Fit start_up + workers * start_up_a_worker + place * stagger, each run weighing the same."""
    places = [np.arange(len(starts)) for starts in begun]
    terms = [np.stack([np.ones(len(p)), np.full(len(p), len(p)), p], axis=1) for p in places]
    weights = np.concatenate([np.full(len(p), len(p) ** -0.5) for p in places])
    if len({len(starts) for starts in begun}) == 1:  # of one count nothing tells the two apart
        terms = [term * (1, 0, 1) for term in terms]
    found, _ = nnls(np.concatenate(terms) * weights[:, None], np.concatenate(begun) * weights)
    fixed, a_worker, stagger = found.tolist()
    return fixed, a_worker, stagger


def simulate(
    calibration: Calibration,
    workers: int,
    shard_seconds: Sequence[float],
    a_machine: int = 1,
    seed: int = 0,
) -> Simulated:
    """Return the phases of a run of ``workers``, ``a_machine`` of them on each machine.

    ``shard_seconds`` are the shards' durations without stragglers, in their order.
    """
    environment, generator = simpy.Environment(), random.Random(seed)
    driver, shards = simpy.Resource(environment), iter(shard_seconds)
    answers: list[simpy.Process] = []
    together = min(workers, a_machine) * calibration.start_up_a_worker
    began = calibration.start_up + together  # of the first worker on each machine

    def turn(seconds: float) -> Iterator[Any]:
        with driver.request() as mine:
            yield mine
            yield environment.timeout(seconds)

    def work(place: int) -> Iterator[Any]:
        yield environment.timeout(began + place * calibration.stagger)
        for seconds in shards:
            yield from turn(calibration.overhead)
            yield environment.timeout(seconds * generator.choice(calibration.stragglers))
            answers.append(environment.process(turn(calibration.merge)))

    for worker in range(min(workers, len(shard_seconds))):
        environment.process(work(worker % a_machine))
    while len(answers) < len(shard_seconds):
        environment.step()
    environment.run(environment.all_of(answers))
    ended = max(float(environment.now), began)
    return Simulated(workers, began, ended - began, ended + calibration.drain)


def simulation_error(calibration: Calibration, run: pa.Table, a_machine: int) -> float:
    """Return how far, relatively, the simulated wall time is off that of a measured run."""
    seconds = run["ended"].to_numpy() - run["started"].to_numpy()
    typical = np.median(seconds / run["rows"].to_numpy()) * run["rows"].to_numpy()
    workers = len(set(run["worker"].to_pylist()))
    wall = run["finished"][0].as_py() - run["began"][0].as_py()
    return float(simulate(calibration, workers, typical.tolist(), a_machine).wall / wall - 1)


@dataclass(frozen=True)
class Plan:
    """One worker count's simulated time, and what it costs at a price an hour of a worker."""

    workers: int
    seconds: float
    cost: float


def planner(
    calibration: Calibration, images: int, ms: float, price: float, most: int, shards_a_worker: int
) -> Callable[[int], Plan]:
    """Return what simulates a number of workers over ``images`` of ``ms`` milliseconds each.

    A shard is sized so that ``most`` workers have ``shards_a_worker`` each, at least one image.
    """
    size = max(1, images // (most * shards_a_worker))
    shards = [size * ms / 1000] * (images // size)
    if images % size:
        shards.append(images % size * ms / 1000)

    def at(workers: int) -> Plan:
        seconds = simulate(calibration, workers, shards).wall
        return Plan(workers, seconds, workers * seconds / 3600 * price)

    return at


def doublings(most: int) -> list[int]:
    """Return 1, 2, 4, ... and ``most``."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def cheapest_in_time(
    plans: Sequence[Plan], deadline: float, at: Callable[[int], Plan]
) -> Plan | None:
    """Return the fewest workers that take at most ``deadline`` seconds, or None.

    They are the cheapest, for every further one is paid while it starts. Between the doublings of
    ``plans`` the place is found by halving.
    """
    fit = next((one for one in plans if one.seconds <= deadline), None)
    if fit is None:
        return None
    late = max((one.workers for one in plans if one.workers < fit.workers), default=0)
    while fit.workers - late > 1:
        middle = at((late + fit.workers) // 2)
        if middle.seconds <= deadline:
            fit = middle
        else:
            late = middle.workers
    return fit


def money_buys_nothing(plans: Sequence[Plan]) -> Plan:
    """Return the fewest workers within PATIENCE of the shortest time of all ``plans``."""
    least = min(one.seconds for one in plans)
    return next(one for one in plans if one.seconds <= least * (1 + PATIENCE))
