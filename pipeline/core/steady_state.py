"""When all workers of a pool worked at once, and how much they did."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

WARM_FROM = 4  # shards a worker: of fewer, the first would be too much to leave out


@dataclass(frozen=True)
class SteadyState:
    """From when the last worker was warm until the first one found nothing more to do."""

    begin: float  # seconds since the epoch
    end: float
    rate: float  # rows a second, of all workers
    busy: float  # share of the time in which a worker was inside a shard


def steady_state(tasks: pa.Table) -> SteadyState:
    """Return the steady state of a pool from its tasks: a row a shard, at least one.

    ``tasks`` has rows, worker, started and ended (seconds since the epoch). A worker is warm when
    it has done its first shard, in which libraries load and kernels are compiled; with fewer than
    WARM_FROM shards for one of them, when it has begun. A shard counts by the share of its time
    that lies inside. Where a worker was done before another began, there was no steady state, and
    the whole time counts.
    """
    rows, worker, started, ended = (
        tasks[name].to_numpy(zero_copy_only=False)
        for name in ("rows", "worker", "started", "ended")
    )
    workers, shards = np.unique(worker, return_counts=True)
    warm = ended if shards.min() >= WARM_FROM else started
    begin = max(warm[worker == name].min() for name in workers)
    end = min(ended[worker == name].max() for name in workers)
    if end <= begin:
        begin, end = started.min(), ended.max()
    inside = np.clip(np.minimum(ended, end) - np.maximum(started, begin), 0, None)
    spent = np.maximum(ended - started, 1e-9)  # a clock may stand still over an empty shard
    window = max(end - begin, 1e-9)
    return SteadyState(
        begin=float(begin),
        end=float(end),
        rate=float((inside / spent * rows).sum() / window),
        busy=float(inside.sum() / (window * len(workers))),
    )
