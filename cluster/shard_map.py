"""A plan over many shards, on a fixed pool of actors that Ray Data keeps, restarts and feeds.

The pool is Ray Data's and stays so: a scheduler of our own would have to learn about lost nodes.
"""

import logging
import pickle
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import numpy as np
import psutil
import pyarrow as pa
import ray
from ray.util.annotations import RayDeprecationWarning

from cluster.metrics import ShardMetrics
from cluster.tally import listening, teller
from pipeline.core.errors import SluiceError
from pipeline.core.paths import path_error
from pipeline.core.progress import Heard, told_of
from pipeline.core.spread import ShardFunction, ShardPlan, in_hand

FAILURE = "sluice failure"
SHARDS_AHEAD = 4  # a worker
RETRIES = 8  # of a shard whose worker died: it may stand behind one that kills
END = 10.0  # seconds, at most, until a worker is gone


class ShardActor:
    """Starts the plan once an actor: the model loads once, not once a shard.

    The plan comes as a reference inside a list, so that a restarted actor finds it where it was.
    """

    def __init__(self, plan: list["ray.ObjectRef[ShardPlan]"], tally: Any) -> None:
        self.process: ShardFunction | None = None
        self.heard = None if tally is None else teller(tally)
        try:
            started: ShardPlan = ray.get(plan[0])
            self.metrics = ShardMetrics(started.name)
            self.process = started.start()
        except SluiceError as error:
            self.failed = _failure(error)

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        if self.process is None:
            return self.failed
        shard = int(batch["shard"][0])
        try:
            with told_of(shard, self.heard):
                result = self.process(shard)
        except SluiceError as error:
            return _failure(error)
        except OSError as error:
            told = path_error(error)
            if told is None:
                raise
            return _failure(told)
        self.metrics.count(result)
        return result


def map_shards(
    plan: ShardPlan,
    shards: Sequence[int],
    workers: int,
    gpus_per_worker: float = 0.0,
    heard: Heard | None = None,
) -> Iterator[pa.Table]:
    """Yield what ``plan`` makes of each shard, in the order of finishing.

    Only shard numbers go out and only what the shard function returns comes back, so pixels stay
    in the worker that reads them. ``plan`` is pickled and started once in each of ``workers``
    actors; a killed one is replaced and its shard done again. Raises the SluiceError a worker
    raised as it was, anything else as ray.exceptions.RayTaskError, RayActorError where the workers
    of a shard died again and again. Broken off, it ends its workers before it returns. ``heard`` is
    told, by a thread of its own, how far the shards in hand are.
    """
    if not shards:
        return
    with listening(heard) as tally:
        yield from _mapped(plan, shards, workers, gpus_per_worker, tally)


def _mapped(
    plan: ShardPlan, shards: Sequence[int], workers: int, gpus: float, tally: Any
) -> Iterator[pa.Table]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    reference = ray.put(plan)  # held to the end: it must not be freed while an actor may restart
    numbers = ray.data.from_blocks([pa.table({"shard": np.array([s])}) for s in shards])
    with warnings.catch_warnings():
        # Ray Data would have these named, and names none that bounds the tries.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        results = numbers.map_batches(
            ShardActor,
            fn_constructor_args=([reference], tally),
            batch_size=1,  # a shard, as each block is; with a GPU Ray Data refuses None
            compute=_pool(len(shards), workers, in_hand(plan)),
            num_cpus=1.0,
            num_gpus=gpus or None,
            max_task_retries=RETRIES,
        )
    _quiet()
    batches = results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    tables = cast("Generator[pa.Table, None, None]", iter(batches))
    with _ended_if_broken_off(tables):
        for table in tables:
            if FAILURE in table.column_names:
                raise pickle.loads(table[FAILURE][0].as_py())
            yield table


def _pool(shards: int, workers: int, at_once: int) -> ray.data.ActorPoolStrategy:
    # A second shard in flight, since Ray Data takes 0.1 s and more to give a worker its next one;
    # of few shards it could stand behind the first while another worker has none.
    ahead = 2 if shards >= SHARDS_AHEAD * workers else 1
    return ray.data.ActorPoolStrategy(
        size=min(workers, shards),
        max_tasks_in_flight_per_actor=ahead,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=at_once > 1,
    )


@contextmanager
def _ended_if_broken_off(tables: Generator[pa.Table, None, None]) -> Iterator[None]:
    """End ``tables`` and kill the workers of this machine's Ray where the block did not end well.

    Ray Data waits for none of them: one that is still at a shard could write in a folder whose lock
    has been given back. It is ended first, for until then it puts another in a killed one's place.
    """
    try:
        yield
    except BaseException:
        tables.close()
        started = psutil.Process().children(recursive=True)
        workers = [process for process in started if _title(process).startswith("ray::MapWorker")]
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, END)
        raise


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()[:1])
    return ""


def _quiet() -> None:
    # Ray Data sets its loggers up itself when a data set is first made, so not before.
    for name in ("ray.data", "ray.data._internal.progress"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _failure(error: SluiceError) -> pa.Table:
    """Return a user's mistake as a result: raised, Ray would bury it under its own traceback."""
    return pa.table({FAILURE: [pickle.dumps(error)]})
