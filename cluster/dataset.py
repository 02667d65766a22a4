"""A store as a Ray Dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from pipeline.core.store import Store


def store_dataset(root: Path, kind: str, columns: Sequence[str] | None = None) -> ray.data.Dataset:
    """Return the rows of a finished store that readers see: a block a shard, read by workers.

    Raises InputError where it is not finished, StoreError where it is of another kind.
    """
    shards = [entry.shard for entry in Store.open(root, kind).manifest()]
    wanted = None if columns is None else list(columns)

    def read(batch: Any) -> pa.Table:
        (shard,) = batch["item"].tolist()
        return Store.open(root, kind).read(shard, wanted)

    numbers = ray.data.from_items(shards, override_num_blocks=max(1, len(shards)))
    return numbers.map_batches(read, batch_size=1)
