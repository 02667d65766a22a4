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
from scipy.optimize import least_squares

from pipeline.core.arrays import Reals
from pipeline.core.forecast import PoolCosts

PATIENCE = 0.01  # time that gets less than this share shorter is not worth a doubling


@dataclass(frozen=True)
class Simulated:
    """Seconds of a simulated run."""

    workers: int
    start_up: float
    work: float
    wall: float


def calibrate(runs: Sequence[pa.Table]) -> PoolCosts:
    """Take the model's parts from the tasks of measured runs, as ``run_phases`` takes them.

    The overhead is the median wait of a worker between two shards. Start-up is fitted as what is
    longer, one worker's own or that of all on the one machine. Raises ValueError without a run.
    """
    if not runs:
        raise ValueError("a calibration needs at least one measured run")
    counts, starts, waits, merges, drains, ratios = [], [], [], [], [], []
    for run in runs:
        column = {name: run[name].to_numpy(zero_copy_only=False) for name in run.column_names}
        names = np.unique(column["worker"])
        counts.append(len(names))
        starts.append(column["started"].min() - column["began"][0])
        drains.append(column["finished"][0] - column["ended"].max())
        merges += column["merge"].tolist()
        seconds = (column["ended"] - column["started"]) / column["rows"]
        ratios += (seconds / seconds.mean()).tolist()
        for name in names:
            mine = np.argsort(column["started"][column["worker"] == name])
            begins, ends = (column[c][column["worker"] == name][mine] for c in ("started", "ended"))
            waits += (begins[1:] - ends[:-1]).tolist()
    kept = np.quantile(ratios, np.linspace(0, 1, 101))
    wait = float(np.median(waits)) if waits else 0.0
    middle = float(np.median(merges)), float(np.median(drains))
    return PoolCosts(*_fitted_start_up(counts, starts), wait, *middle, tuple(kept.tolist()))


def _fitted_start_up(counts: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a and b that fit max(a, count * b) to ``seconds``, by relative error."""
    workers, measured = np.array(counts, float), np.log(np.maximum(seconds, 1e-6))

    def residuals(logs: Reals) -> Reals:
        return np.asarray(np.maximum(logs[0], logs[1] + np.log(workers)) - measured)

    most = np.argmax(workers)
    first = [measured[np.argmin(workers)], measured[most] - np.log(workers[most])]
    alone, a_worker = np.exp(least_squares(residuals, first).x).tolist()
    return max(alone, a_worker), a_worker


def simulate(
    costs: PoolCosts,
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
    together = min(workers, a_machine) * costs.start_up_a_worker
    began = max(costs.start_up, together)

    def turn(seconds: float) -> Iterator[Any]:
        with driver.request() as mine:
            yield mine
            yield environment.timeout(seconds)

    def work() -> Iterator[Any]:
        yield environment.timeout(began)
        for seconds in shards:
            yield from turn(costs.overhead)
            yield environment.timeout(costs.wait + seconds * generator.choice(costs.stragglers))
            environment.process(turn(costs.merge))

    for _ in range(min(workers, len(shard_seconds))):
        environment.process(work())
    environment.run()
    ended = max(float(environment.now), began)
    return Simulated(workers, began, ended - began, ended + costs.drain)


def simulation_error(costs: PoolCosts, run: pa.Table, a_machine: int) -> float:
    """Return how far, relatively, the simulated wall time is off that of a measured run."""
    seconds = run["ended"].to_numpy() - run["started"].to_numpy()
    typical = np.median(seconds / run["rows"].to_numpy()) * run["rows"].to_numpy()
    workers = len(set(run["worker"].to_pylist()))
    wall = run["finished"][0].as_py() - run["began"][0].as_py()
    return float(simulate(costs, workers, typical.tolist(), a_machine).wall / wall - 1)


@dataclass(frozen=True)
class Plan:
    """One worker count's simulated time, and what it costs at a price an hour of a worker."""

    workers: int
    seconds: float
    cost: float


def planner(
    costs: PoolCosts, images: int, ms: float, price: float, shards_a_worker: int
) -> Callable[[int], Plan]:
    """Return what simulates a number of workers over ``images`` of ``ms`` milliseconds each.

    A shard is sized so that each worker has ``shards_a_worker``, but holds one image at least.
    """

    def at(workers: int) -> Plan:
        size = max(1, images // (workers * shards_a_worker))
        shards = [size * ms / 1000] * (images // size)
        if images % size:
            shards.append(images % size * ms / 1000)
        seconds = simulate(costs, workers, shards).wall
        return Plan(workers, seconds, workers * seconds / 3600 * price)

    return at


def doublings(most: int) -> list[int]:
    """Return 1, 2, 4, ... and ``most``."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def cheapest_in_time(
    plans: Sequence[Plan], deadline: float, at: Callable[[int], Plan]
) -> Plan | None:
    """Return the cheapest plan that takes at most ``deadline`` seconds, or None.

    It is one of ``plans``, or the fewest workers in time, found by halving between those: a
    further worker is paid while it starts, but may also fill a last round of shards.
    """
    fit = [one for one in plans if one.seconds <= deadline]
    if not fit:
        return None
    fewest = fit[0]
    late = max((one.workers for one in plans if one.workers < fewest.workers), default=0)
    while fewest.workers - late > 1:
        middle = at((late + fewest.workers) // 2)
        if middle.seconds <= deadline:
            fewest = middle
        else:
            late = middle.workers
    return min([fewest, *fit], key=lambda one: (one.cost, one.seconds))


def money_buys_nothing(plans: Sequence[Plan]) -> Plan:
    """Return the fewest workers within PATIENCE of the shortest time of all ``plans``."""
    least = min(one.seconds for one in plans)
    return next(one for one in plans if one.seconds <= least * (1 + PATIENCE))
