"""One function over many shards, on a fixed pool of Ray actors."""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from cluster.metrics import ShardMetrics
from pipeline.core.errors import SluiceError

ShardFunction = Callable[[int], pa.Table]
FAILURE = "sluice failure"
SHARDS_AHEAD = 4  # a worker


def map_shards(
    make: Callable[[], ShardFunction],
    shards: Sequence[int],
    workers: int,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
) -> Iterator[pa.Table]:
    """Yield ``make()(shard)`` for each shard, in the order of finishing.

    Only shard numbers go out and only what the shard function returns comes back, so pixels stay
    in the worker that reads them. ``make`` is pickled and called once in each of ``workers``
    actors; a killed one is replaced and its shard done again. Raises the SluiceError a worker
    raised as it was, anything else as ray.exceptions.RayTaskError.
    """
    if not shards:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False

    # The plan's class names the stage: EmbedPlan.start is "EmbedPlan".
    stage = type(getattr(make, "__self__", make)).__name__

    class ShardActor:
        """Builds the shard function once an actor: the model loads once, not once a shard."""

        def __init__(self) -> None:
            self.process: ShardFunction | None = None
            self.metrics = ShardMetrics(stage)
            try:
                self.process = make()
            except SluiceError as error:
                self.failed = _failure(error)

        def __call__(self, batch: dict[str, Any]) -> pa.Table:
            if self.process is None:
                return self.failed
            try:
                result = self.process(int(batch["shard"][0]))
            except SluiceError as error:
                return _failure(error)
            self.metrics.count(result)
            return result

    # A second shard in flight, since Ray Data takes 0.1 s and more to give a worker its next one;
    # of few shards it could stand behind the first while another worker has none.
    ahead = 2 if len(shards) >= SHARDS_AHEAD * workers else 1
    pool = ray.data.ActorPoolStrategy(
        size=min(workers, len(shards)), max_tasks_in_flight_per_actor=ahead
    )
    numbers = ray.data.from_blocks([pa.table({"shard": np.array([s])}) for s in shards])
    results = numbers.map_batches(
        ShardActor,
        batch_size=None,
        compute=pool,
        num_cpus=cpus_per_worker,
        num_gpus=gpus_per_worker or None,
    )
    # Only now: Ray Data sets its loggers up itself when a data set is first made.
    for name in ("ray.data", "ray.data._internal.progress"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        if FAILURE in table.column_names:
            raise pickle.loads(table[FAILURE][0].as_py())
        yield table


def _failure(error: SluiceError) -> pa.Table:
    """Return a user's mistake as a result: raised, Ray would bury it under its own traceback."""
    return pa.table({FAILURE: [pickle.dumps(error)]})
