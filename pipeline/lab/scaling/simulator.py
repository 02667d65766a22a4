"""A pool of workers as a discrete-event model: start-up, tasks given out by turns, stragglers.

One driver gives out one shard at a time and takes one answer at a time; workers start on machines
of their own and share nothing but the driver. What the network and a file system add is not in it.
"""

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simpy
from scipy.optimize import least_squares, nnls

from pipeline.core.arrays import Reals
from pipeline.core.forecast import PoolCosts
from pipeline.lab.scaling.run import RunPhases, run_phases

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

    A worker's wait is the median between two of its shards. The driver's turn is its CPU time
    that goes with the shards, beside what goes with the seconds, fitted to all runs. Start-up is
    fitted as what is longer, one worker's own or that of all on the one machine. Raises ValueError
    without a run.
    """
    if not runs:
        raise ValueError("a calibration needs at least one measured run")
    phases = [run_phases(run) for run in runs]
    names = ("drain", "planning", "writing")
    drain, planning, writing = (float(np.median([getattr(p, n) for p in phases])) for n in names)
    counts = [pc.count_distinct(run["worker"]).as_py() for run in runs]
    starts = _fitted_start_up(counts, [p.start_up for p in phases])
    merges = np.concatenate([run["merge"].to_numpy() for run in runs])
    waits = np.concatenate([worker_waits(run) for run in runs])
    turn = _driver_turn(phases, [run.num_rows for run in runs])
    wait = max(0.0, float(np.median(waits)) - turn) if len(waits) else 0.0
    ratios = np.concatenate([_seconds_a_row(run) / _seconds_a_row(run).mean() for run in runs])
    kept = np.quantile(ratios, np.linspace(0, 1, 101))
    merge = float(np.median(merges))
    kept = tuple((kept / kept.mean()).tolist())
    return PoolCosts(*starts, turn, merge, drain, kept, wait, planning, 0.0, writing)


def milliseconds(runs: Sequence[pa.Table]) -> float:
    """Return what an image takes of one worker, in ms: the mean over the shards of all runs."""
    spent = sum(float((run["ended"].to_numpy() - run["started"].to_numpy()).sum()) for run in runs)
    return 1000 * spent / sum(float(run["rows"].to_numpy().sum()) for run in runs)


def worker_waits(run: pa.Table) -> Reals:
    """Return the seconds (n,) between two shards of one worker, all workers together."""
    ordered = run.sort_by([("worker", "ascending"), ("started", "ascending")])
    names = ordered["worker"].to_numpy(zero_copy_only=False)
    waits = ordered["started"].to_numpy()[1:] - ordered["ended"].to_numpy()[:-1]
    return np.asarray(waits[names[1:] == names[:-1]], np.float64)


def _seconds_a_row(run: pa.Table) -> Reals:
    filled = run.filter(pc.greater(run["rows"], 0))
    seconds = filled["ended"].to_numpy() - filled["started"].to_numpy()
    return np.asarray(np.maximum(seconds, 1e-9) / filled["rows"].to_numpy())


def _driver_turn(phases: Sequence[RunPhases], shards: Sequence[int]) -> float:
    spent = np.array([max(0.0, p.driver_cpu - p.merge) for p in phases])
    causes = np.array([(p.work + p.drain, n) for p, n in zip(phases, shards, strict=True)])
    return float(nnls(causes, spent)[0][1])


def _fitted_start_up(counts: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a and b that fit max(a, count * b) to ``seconds``, by relative error.

    One count alone tells nothing of b: it is 0.
    """
    if len(set(counts)) == 1:
        return float(np.median(seconds)), 0.0
    workers, measured = np.array(counts, float), np.log(np.maximum(seconds, 1e-6))

    def residuals(logs: Reals) -> Reals:
        return np.asarray(np.maximum(logs[0], logs[1] + np.log(workers)) - measured)

    most = np.argmax(workers)
    first = [measured[np.argmin(workers)], measured[most] - np.log(workers[most])]
    alone, a_worker = np.exp(least_squares(residuals, first).x).tolist()
    return max(alone, a_worker), a_worker


@dataclass(frozen=True)
class Stay:
    """When a worker is there, in seconds from the job's start.

    The shard of one that leaves is given back when that is ``noticed``; one that ``returns``, as
    Ray starts a lost worker anew, then does again the shard it held.
    """

    comes: float = 0.0
    leaves: float | None = None  # None: it stays to the end
    noticed: float | None = None  # None: at once
    returns: float | None = None  # None: it does not


def simulate(
    costs: PoolCosts,
    workers: int | Sequence[Stay],
    shard_seconds: Sequence[float],
    a_machine: int = 1,
    seed: int = 0,
) -> Simulated:
    """Return the phases of a run of ``workers``, ``a_machine`` of them on each machine.

    ``shard_seconds`` are the shards' durations without stragglers, in their order. Workers may
    come and go: whoever comes starts then. Where all have left, the rest stays undone, and the time
    is infinite.
    """
    stays = [Stay()] * workers if isinstance(workers, int) else list(workers)
    environment, generator = simpy.Environment(), random.Random(seed)
    driver, shards = simpy.Resource(environment), simpy.Store(environment)
    shards.items.extend(shard_seconds)
    together = min(len(stays), a_machine) * costs.start_up_a_worker
    began, merged = max(costs.start_up, together), [0.0]

    def turn(seconds: float) -> Iterator[Any]:
        with driver.request() as mine:
            yield mine
            yield environment.timeout(seconds)

    def merge() -> Iterator[Any]:
        yield environment.timeout(0)  # a worker that wants its next shard is first
        yield from turn(costs.merge)
        merged.append(environment.now)

    def work(stay: Stay) -> Generator[Any, Any, None]:
        held: Any = None
        waiting: Any = None
        while True:
            try:
                yield environment.timeout(max(0.0, stay.comes + began - environment.now))
                while True:
                    if held is None:
                        waiting = shards.get()
                        held = yield waiting
                    yield from turn(costs.overhead)
                    straggled = held * generator.choice(costs.stragglers)
                    yield environment.timeout(costs.wait + straggled)
                    held = None
                    environment.process(merge())
            except simpy.Interrupt:
                if held is None and waiting is not None:
                    waiting.cancel()
                if stay.returns is None:
                    yield environment.timeout(max(0.0, (stay.noticed or 0.0) - environment.now))
                    if held is not None:
                        shards.put(held)
                    return
                yield environment.timeout(stay.returns - environment.now)

    def end(worker: Any, leaves: float) -> Iterator[Any]:
        yield environment.timeout(leaves)
        worker.interrupt()

    for stay in stays:
        worker = environment.process(work(stay))
        if stay.leaves is not None:
            environment.process(end(worker, stay.leaves))
    environment.run()
    ended = max(*merged, began) if len(merged) > len(shard_seconds) else float("inf")
    around = costs.planning + costs.drain + costs.writing
    return Simulated(len(stays), began, ended - began, ended + around)


def simulation_error(costs: PoolCosts, run: pa.Table, a_machine: int) -> float:
    """Return how far, relatively, the simulated wall time is off that of a measured run."""
    seconds = milliseconds([run]) / 1000 * run["rows"].to_numpy()
    workers = pc.count_distinct(run["worker"]).as_py()
    simulated = simulate(costs, workers, seconds.tolist(), a_machine).wall
    return float(simulated / run_phases(run).wall - 1)
