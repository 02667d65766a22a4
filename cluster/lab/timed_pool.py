"""One run of a pool of workers on a Ray of its own, timed task by task."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import ray

from cluster.session import ray_session
from cluster.shard_map import map_shards
from pipeline.core.spread import ShardPlan
from pipeline.lab.scaling.run import RUN_COLUMNS
from pipeline.lab.scaling.work import Work

TASK_COLUMNS = ("shard", "rows", "worker", "started", "ended")


def run_timed(plan: ShardPlan, work: Work, workers: int) -> pa.Table:
    """Do ``work`` by ``plan``, its own or one around it, with ``workers``; return a row a shard.

    Columns: those of TASK_COLUMNS; received and merge (when the driver had the answer, and the
    seconds until it asked for the next); and those of the run (RUN_COLUMNS). Ray is started anew
    for the run, and the first shard is given out when all workers have started.
    """
    tasks, received, merging = [], [], []

    def timed(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            received.append(time.time())
            yield table
            merging.append(time.time() - received[-1])
            tasks.append(table.select(TASK_COLUMNS))

    run = {"asked": time.time()}
    work.plan_source()
    run["planned"] = time.time()
    with ray_session(workers), all_workers_first():
        run["began"], cpu = time.time(), time.process_time()
        answers = map_shards(plan, work.shards, workers)
        taken = work.take(timed(answers), partial(map_shards, workers=workers))
        run["finished"], run["driver_cpu"] = time.time(), time.process_time() - cpu
        work.write(taken)
        run["written"] = time.time()
    table = pa.concat_tables(tasks)
    columns = {"received": received, "merge": merging}
    columns |= {name: [run[name]] * len(tasks) for name in RUN_COLUMNS}
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.float64()))
    return table


@contextmanager
def all_workers_first() -> Iterator[None]:
    """Have Ray Data wait for the whole pool: else the first workers take all there is to do."""
    context = ray.data.DataContext.get_current()
    before, context.wait_for_min_actors_s = context.wait_for_min_actors_s, 600
    try:
        yield
    finally:
        context.wait_for_min_actors_s = before
