"""The second half of the shuffle: one part of an index, gathered from all sorted shards."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, flat_column
from pipeline.index.bucket_rows import BucketRows, sorted_rows, write_rows
from pipeline.index.coarse_codes import CoarseCoder
from pipeline.index.partitions import Partitions
from pipeline.index.sort_shard import read_partition


@dataclass(frozen=True)
class GatherPlan:
    """All a worker needs to gather any part into an index."""

    name: ClassVar[str] = "index"
    sorted_shards: Place
    output: Place
    partitions: Partitions
    coder: CoarseCoder

    def start(self) -> ShardFunction:
        """Return the function that gathers one part and tells what it cost.

        Rows that are tombstoned are indexed too: an image that comes back is there again.
        """
        source = Store.open(self.sorted_shards, "partitions")
        store = Store.open(self.output, "index")

        def gather(part: int) -> pa.Table:
            started = time.time()
            rows = self._rows(source, part)
            write_rows(store, part, rows)
            return shard_stats(part, len(rows.ids), started)

        return gather

    def _rows(self, source: Store, part: int) -> BucketRows:
        shards = self.partitions.shards(part)
        tables = [read_partition(source, n, part % self.partitions.count) for n in shards]
        table = pa.concat_tables(tables)
        vectors = embedding_matrix(table["embedding"])
        counts = [one.num_rows for one in tables]
        return sorted_rows(
            flat_column(table, "buckets"),
            table["id"].to_numpy(),
            np.repeat(np.array(shards, np.int32), counts),
            table["row"].to_numpy(),
            self.coder.codes(vectors),
            vectors,
        )
