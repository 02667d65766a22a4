"""One run of a pool of workers on a Ray of its own, timed task by task."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import ray

from cluster.session import ray_session
from cluster.shard_map import map_shards
from pipeline.core.spread import ShardPlan
from pipeline.lab.scaling.work import Take

TASK_COLUMNS = ("shard", "rows", "worker", "started", "ended")


def run_timed(plan: ShardPlan, shards: Sequence[int], workers: int, take: Take) -> pa.Table:
    """Run ``plan`` over ``shards``, have ``take`` go through all answers; return a row a shard.

    Columns: those of TASK_COLUMNS, received and merge (when the driver had the answer, and the
    seconds until ``take`` asked for the next), and session_began, began, finished of the run. Ray
    is started anew for the run, and the first shard is given out when all workers have started.
    """

    tasks, received, merging = [], [], []

    def timed(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            received.append(time.time())
            yield table
            merging.append(time.time() - received[-1])
            tasks.append(table.select(TASK_COLUMNS))

    session_began = time.time()
    with ray_session(workers), _all_workers_first():
        began = time.time()
        take(timed(map_shards(plan, shards, workers)), partial(map_shards, workers=workers))
        finished = time.time()
    times = {"received": received, "merge": merging}
    times |= {"session_began": [session_began] * len(tasks), "began": [began] * len(tasks)}
    times |= {"finished": [finished] * len(tasks)}
    run = pa.concat_tables(tasks)
    for name, values in times.items():
        run = run.append_column(name, pa.array(values, pa.float64()))
    return run


@contextmanager
def _all_workers_first() -> Iterator[None]:
    """Have Ray Data wait for the whole pool: else the first workers take all there is to do."""
    context = ray.data.DataContext.get_current()
    before, context.wait_for_min_actors_s = context.wait_for_min_actors_s, 600
    try:
        yield
    finally:
        context.wait_for_min_actors_s = before
