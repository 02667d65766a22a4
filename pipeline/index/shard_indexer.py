"""One shard of an index: the embeddings of one embedding shard, in the order of their buckets."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index.grid import Grid
from pipeline.index.vector_codes import Precision, encode_vectors

# A row group is what a probe can leave unread; smaller ones make footers longer than data.
ROW_GROUP = 256


@dataclass(frozen=True)
class IndexPlan:
    """All a worker needs to index any shard of an embedding store."""

    name: ClassVar[str] = "index"
    embeddings: Path
    output: Path
    grid: Grid
    precision: Precision

    def start(self) -> ShardFunction:
        """Return the function that indexes one shard and tells what it cost.

        Rows that are tombstoned are indexed too: an image that comes back is there again.
        """
        faiss.omp_set_num_threads(1)
        source = Store.open(self.embeddings, "embeddings")
        store = Store.open(self.output, "index")

        def index_shard(shard: int) -> pa.Table:
            started = time.time()
            table = index_table(
                source.read_whole(shard, ["id", "embedding"]), self.grid, self.precision
            )
            store.write_shard(shard, table, row_group=ROW_GROUP)
            return shard_stats(shard, table.num_rows, started)

        return index_shard


def index_table(table: pa.Table, grid: Grid, precision: Precision) -> pa.Table:
    """Return (id, bucket, row, vector, scale, error) of (id, embedding), by bucket, then id.

    row is the vector's place in ``table``.
    """
    vectors = embedding_matrix(table["embedding"])
    buckets = grid.nearest(vectors, 1)[:, 0]
    order = np.lexsort((table["id"].to_numpy(), buckets))
    columns = {
        "id": table["id"].to_numpy()[order],
        "bucket": buckets[order],
        "row": order.astype(np.int32),
    }
    codes = encode_vectors(vectors[order], precision)
    return pa.table(columns | {name: codes[name] for name in codes.column_names})


def read_buckets(store: Store, shard: int, buckets: list[int]) -> pa.Table:
    """Read the rows of ``buckets`` from an index shard; other row groups are left on disk.

    Raises StoreError where the shard is missing or damaged.
    """
    return store.read_whole(shard, filters=[("bucket", "in", buckets)])
