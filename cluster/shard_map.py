"""One function over many shards, on a fixed pool of Ray actors."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

ShardFunction = Callable[[int], pa.Table]


class _ShardActor:
    """Builds the shard function once an actor: the model loads once, not once a shard."""

    def __init__(self, make: Callable[[], ShardFunction]) -> None:
        self._process = make()

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        return self._process(int(batch["shard"][0]))


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
    actors. Raises what the shard function raised, as ray.exceptions.RayTaskError.
    """
    if not shards:
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    pool = ray.data.ActorPoolStrategy(size=min(workers, len(shards)))
    numbers = ray.data.from_blocks([pa.table({"shard": np.array([s])}) for s in shards])
    results = numbers.map_batches(
        _ShardActor,
        fn_constructor_args=(make,),
        batch_size=None,
        compute=pool,
        num_cpus=cpus_per_worker,
        num_gpus=gpus_per_worker or None,
    )
    yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
