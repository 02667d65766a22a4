"""Features of images made on demand and kept: what is there is never made twice.

A shard's features lie in segments, one for each time that some were missing, attached to a store
with their checksum: a crash leaves a segment whole or not there, and damage is told.
"""

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix, parquet_bytes, rows_of

Make = Callable[[Ids], Vectors]


class FeatureCache:
    """The features called ``name`` in ``store``: an id and f32 (d,) a row, shard by shard."""

    def __init__(self, store: Store, name: str, dimensions: int) -> None:
        self.store = store
        self.name = name
        self.dimensions = dimensions

    def read(self, shard: int) -> tuple[Ids, Vectors]:
        """Return ids int64 (n,) and features f32 (n, d). Raises StoreError for a damaged file."""
        segments = [self.store.attached(name) for name in self._segments(shard)]
        if not segments:
            return np.empty(0, np.int64), np.empty((0, self.dimensions), np.float32)
        table = pa.concat_tables([pq.read_table(pa.BufferReader(data)) for data in segments])
        return table["id"].to_numpy(), embedding_matrix(table["feature"])

    def get(self, shard: int, ids: Ids, make: Make) -> tuple[Vectors, int]:
        """Return f32 (n, d) features of ``ids``, and how many ``make`` had to make and were kept.

        make: int64 (m,), ascending, -> f32 (m, d).
        """
        known, features = self.read(shard)
        missing = np.setdiff1d(ids, known)
        if len(missing):
            made = make(missing)
            self.add(shard, missing, made)
            known, features = np.concatenate([known, missing]), np.concatenate([features, made])
        return rows_of(ids, known, features), len(missing)

    def add(self, shard: int, ids: Ids, features: Vectors) -> None:
        """Keep f32 (n, d) ``features`` of ``ids``; one process at a time may add to a shard."""
        table = pa.table({"id": ids, "feature": embedding_column(features)})
        last = max((int(PurePosixPath(name).stem) for name in self._segments(shard)), default=-1)
        name = f"{self.name}/{shard:06d}/{last + 1:06d}.parquet"
        self.store.attach(name, parquet_bytes(table))

    def _segments(self, shard: int) -> list[str]:
        return self.store.attached_names(f"{self.name}/{shard:06d}/*")
