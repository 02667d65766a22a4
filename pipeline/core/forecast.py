"""What more workers would do to a job, and where they stop helping: the one model of it.

Closed forms over whole arrays, since a page asks for thousands of jobs at once. One driver gives
out a shard and takes an answer at a time; a worker does its shards one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Reals

SHORTER = 0.1  # a doubling of the workers that shortens the run by less no longer helps
MOST = 10_000  # workers, up to which it is looked where they stop helping
PARTS = ("planning", "start_up", "work", "waiting", "merge", "writing")
WORDS = {
    "planning": "preparing",
    "start_up": "start-up",
    "waiting": "waiting for turns and slow shards",
    "merge": "the merge",
    "writing": "writing",
}
QUICK, SLOW = 0.1, 0.9  # of the measured shards
NEARLY_ALL = 0.8
STILL_HELP = "up to {:,} workers each doubling still helps"
FORECAST = pa.schema(
    [
        ("images", pa.int64()),
        ("ms", pa.float64()),  # of one worker, an image
        ("workers", pa.int64()),
        (
            "planning",
            pa.float64(),
        ),  # s: planning the source, and what else is before workers
        ("start_up", pa.float64()),  # s: until the first shard is begun
        ("work", pa.float64()),  # s: what shrinks with the workers
        ("waiting", pa.float64()),  # s: for the driver's turn, a slow shard, a last round
        ("merge", pa.float64()),  # s: merging that no worker's work hides
        ("writing", pa.float64()),  # s: the answer
        ("seconds", pa.float64()),  # their sum
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("speed_up", pa.float64()),  # of the whole run, against one worker's whole run
        ("efficiency", pa.float64()),  # speed_up / workers
        ("cost", pa.float64()),  # of all workers for the whole run
    ]
)


@dataclass(frozen=True)
class PoolCosts:
    """What was measured of real runs, in seconds; what a job does not have is 0.

    ``start_up`` is of a pool whose workers do not wait for each other's, ``start_up_a_worker`` what
    each takes of its machine, so that many take longer; ``overhead`` is the driver's turn for a
    shard, ``merge`` for an answer, ``wait`` what a worker waits between two shards beside it.
    ``stragglers`` are the measured durations of shards divided by their mean. ``off`` is the lowest
    and the highest relative error of the model on runs it was not calibrated from.
    """

    start_up: float
    start_up_a_worker: float
    overhead: float
    merge: float
    drain: float
    stragglers: tuple[float, ...]
    wait: float = 0.0
    planning: float = 0.0
    planning_an_image: float = 0.0
    writing: float = 0.0
    off: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Shards:
    """How a job is cut: so that each worker has ``a_worker``, or into ``fixed`` that are there."""

    a_worker: int = 4
    fixed: int | None = None


@dataclass(frozen=True)
class Stop:
    """The fewest workers twice of which shorten the run by less than SHORTER, and why.

    ``workers`` is None where they still help at the most looked at.
    """

    workers: int | None
    seconds: float
    reason: str


def forecast(
    costs: PoolCosts,
    images: Any,
    ms: Any,
    workers: Any,
    shards: Shards = Shards(),
    price: float = 1.0,
    a_machine: int = 1,
) -> pa.Table:
    """Return a row a job in FORECAST; images, ms and workers are broadcast against each other.

    images, workers: whole numbers. ms: milliseconds of one worker an image. price: of a worker for
    an hour; with 1 the cost is in worker-hours. a_machine: workers that start on one machine.
    ``low`` and ``high``: were all shards as quick as the quickest tenth measured, or as slow as the
    slowest, and widened by ``costs.off``; no run is quicker than its workers' work.
    """
    asked = np.broadcast_arrays(images, ms, workers)
    count, each, pool = (np.ravel(values).astype(np.float64) for values in asked)
    parts = _parts(costs, count, each, pool, shards, a_machine)
    seconds = _sum(parts)
    alone = _sum(_parts(costs, count, each, np.ones_like(pool), shards, a_machine))
    quick, slow = np.quantile(costs.stragglers, [QUICK, SLOW]) - 1
    low = (seconds + quick * parts["work"]) / (1 + max(costs.off[1], 0.0))
    low = np.maximum(low, (1 + quick) * parts["work"])
    high = (seconds + slow * parts["work"]) / (1 + min(costs.off[0], 0.0))
    columns = {"images": count, "ms": each, "workers": pool, **parts}
    columns |= {"seconds": seconds, "low": low, "high": high, "speed_up": alone / seconds}
    columns |= {"efficiency": alone / seconds / pool, "cost": pool * seconds / 3600 * price}
    return pa.table({name: columns[name] for name in FORECAST.names}).cast(FORECAST)


def stops_helping(
    costs: PoolCosts,
    images: int,
    ms: float,
    shards: Shards = Shards(),
    work: str = "the work",
    most: int = MOST,
) -> Stop:
    """Return where more workers stop helping a job; ``work`` is what its workers do, in a word."""
    return stops_of_jobs(costs, [(images, ms)], shards, work, most)[0]


def stops_of_jobs(
    costs: PoolCosts,
    jobs: Sequence[tuple[int, float]],
    shards: Shards = Shards(),
    work: str = "the work",
    most: int = MOST,
) -> list[Stop]:
    """Return what stops_helping gives for each of ``jobs``, (images, ms), in one go."""
    ladder = np.unique(np.geomspace(1, MOST, 200).round().astype(np.int64))
    tried = ladder[ladder <= most]
    images, ms = (np.array(column)[:, None] for column in zip(*jobs, strict=True))
    once, twice = (forecast(costs, images, ms, pool, shards) for pool in (tried, 2 * tried))
    longer = twice["seconds"].to_numpy() > once["seconds"].to_numpy() * (1 - SHORTER)
    found = []
    for job, little in enumerate(longer.reshape(len(jobs), -1)):
        place = int(np.argmax(little)) if little.any() else len(tried) - 1
        [row] = once.slice(job * len(tried) + place, 1).to_pylist()
        told = _reason(row, work) if little.any() else STILL_HELP.format(most)
        found.append(Stop(row["workers"] if little.any() else None, row["seconds"], told))
    return found


def counted(count: int, one: str = "worker", many: str = "workers") -> str:
    """Return how many there are, in words: 1 worker, 1,000 workers."""
    return f"{count:,} {one if count == 1 else many}"


def readable(seconds: float) -> str:
    """Return a time as one says it: 0.4 s, 85 s, 8.7 min, 13.9 h, 11.6 days."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for unit, size, most in (("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:,.1f} days"


def _parts(
    costs: PoolCosts, images: Reals, ms: Reals, workers: Reals, shards: Shards, a_machine: int
) -> dict[str, Reals]:
    """Return the seconds (n,) of each of PARTS."""
    number = _number(images, workers, shards)
    total, busy = images * ms / 1000, np.minimum(workers, number)
    shard, rounds = total / number, np.ceil(number / busy)
    slowest = _slowest(costs.stragglers, (number - (rounds - 1) * busy).astype(np.int64))
    turns = busy * costs.overhead  # all ask at once for their first shard
    by_workers = (rounds - 1 + slowest) * shard + rounds * costs.wait + turns
    by_driver = number * (costs.overhead + costs.merge) + shard + costs.wait
    behind = np.maximum(by_driver - by_workers, 0)  # the workers, for the driver's turn
    merging = behind * costs.merge / max(costs.overhead + costs.merge, 1e-12)
    last = np.maximum(costs.merge, busy * (costs.merge - costs.overhead))
    work, nothing = total / workers, np.zeros_like(total)
    together = np.minimum(workers, a_machine) * costs.start_up_a_worker
    return {
        "planning": costs.planning + images * costs.planning_an_image,
        "start_up": np.maximum(costs.start_up, together),
        "work": work,
        "waiting": np.maximum(by_workers - work + behind - merging, 0),
        "merge": costs.drain + np.where(behind > 0, merging, last),
        "writing": nothing + costs.writing,
    }


def _number(images: Reals, workers: Reals, shards: Shards) -> Reals:
    if shards.fixed is not None:
        return np.minimum(images, float(shards.fixed))
    size = np.ceil(images / (workers * shards.a_worker))
    return np.asarray(np.ceil(images / size))


def _slowest(stragglers: Sequence[float], shards: Ids) -> Reals:
    """Return (n,) the expected longest of so many ``shards`` (n,), drawn from ``stragglers``."""
    values = np.sort(stragglers)
    shares = np.arange(len(values) + 1) / len(values)
    drawn, places = np.unique(shards, return_inverse=True)
    longest = np.diff(shares ** drawn[:, None], axis=1) @ values
    return np.asarray(longest[places])


def _sum(parts: dict[str, Reals]) -> Reals:
    return np.asarray(np.sum([parts[name] for name in PARTS], axis=0))


def _reason(row: dict[str, float], work: str) -> str:
    """Return what no longer shrinks, the longest first, beside what does."""
    fixed = sorted(WORDS, key=lambda name: -row[name])
    enough = NEARLY_ALL * sum(row[name] for name in fixed)
    kept = [name for at, name in enumerate(fixed) if sum(row[n] for n in fixed[:at]) < enough]
    words = [WORDS[name] for name in kept]
    told = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    if sum(row[name] for name in kept) > row["work"]:
        return f"from here on {told} outweigh{'' if words[1:] else 's'} {work}"
    return f"from here on {told} do{'' if words[1:] else 'es'} not shrink with {work}"
