"""The first half of a shuffle: every embedding shard's vectors, sorted by partition.

Whoever needs a partition reads its row groups out of all those files, so that no more than a
partition is in memory at once.
"""

import time
from collections.abc import Container
from dataclasses import dataclass
from typing import ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Numbers, Vectors
from pipeline.core.entries import ShardEntry
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.images.evidence import evidence_columns, evident
from pipeline.images.listing import of_first_folder
from pipeline.index.partitions import Partitions
from pipeline.index.vector_sample import refuse_no_numbers

ROW_GROUP = 256


@dataclass(frozen=True)
class SortPlan:
    """All a worker needs to sort any embedding shard by partition."""

    name: ClassVar[str] = "sort"
    embeddings: Place
    output: Place
    partitions: Partitions
    assignments: int  # buckets a vector
    doubtful: bool = True  # whether images that are no evidence of identity are sorted too
    sided: bool = False  # whether to tell images of the source's first folder from the others

    def start(self) -> ShardFunction:
        """Return the function that sorts one shard and tells what it cost."""
        faiss.omp_set_num_threads(1)
        source = Store.open(self.embeddings, "embeddings")
        store = Store.open(self.output, "partitions")
        grid, edges = self.partitions.grid, self.partitions.edges
        columns = ["id", "embedding", *evidence_columns(source)]
        columns += ["file"] if self.sided else []

        def sort_shard(shard: int) -> pa.Table:
            started = time.time()
            whole = source.read_whole(shard, columns)
            table = evident(whole, self.doubtful)
            vectors = embedding_matrix(table["embedding"])
            refuse_no_numbers(source, shard, vectors)
            nearest = grid.nearest(vectors, self.assignments)
            ids = table["id"].to_numpy()
            rows = partition_table(ids, vectors, nearest, edges)
            if self.sided:
                reference = of_first_folder(table["file"]).take(rows["row"])
                rows = rows.append_column("reference", reference)
            store.write_shard(shard, rows, row_group=ROW_GROUP)
            return shard_stats(shard, whole.num_rows, started)

        return sort_shard


def partition_table(ids: Ids, vectors: Vectors, nearest: Numbers, edges: Ids) -> pa.Table:
    """Return (partition, id, row, buckets, embedding), by partition, then id.

    A vector stands once in each partition where it has a bucket; row is its place in ``vectors``.
    """
    partitions = np.searchsorted(edges, nearest, side="right") - 1
    repeated = np.sort(partitions, axis=1)
    first = np.ones(repeated.shape, np.bool_)
    first[:, 1:] = repeated[:, 1:] != repeated[:, :-1]
    rows, columns = np.nonzero(first)
    place = repeated[rows, columns]
    order = np.lexsort((ids[rows], place))
    rows = rows[order]
    flat = pa.array(np.ascontiguousarray(nearest[rows]).reshape(-1))
    return pa.table(
        {
            "partition": place[order].astype(np.int32),
            "id": ids[rows],
            "row": rows.astype(np.int32),
            "buckets": pa.FixedSizeListArray.from_arrays(flat, nearest.shape[1]),
            "embedding": embedding_column(vectors[rows]),
        }
    )


def read_partition(sorted_shards: Store, shard: int, partition: int) -> pa.Table:
    """Read what partition_table put into ``partition`` of an embedding shard."""
    return sorted_shards.read_whole(shard, filters=[("partition", "==", partition)])


def unsorted(embeddings: Store, sorted_shards: Store, shards: Container[int]) -> list[ShardEntry]:
    """Return the ``shards`` of ``embeddings`` that ``sorted_shards`` does not hold yet."""
    done = {entry.shard for entry in sorted_shards.entries()}
    there = (entry for entry in embeddings.manifest() if entry.shard in shards)
    return [entry for entry in there if entry.shard not in done]


def sort_shards(
    spread: Spread,
    embeddings: Store,
    sorted_shards: Store,
    partitions: Partitions,
    assignments: int,
    shards: Container[int],
    doubtful: bool = True,
    sided: bool = False,
) -> None:
    """Sort ``shards`` of ``embeddings`` by partition; finished ones are skipped.

    assignments: the nearest buckets that each vector lies in. doubtful, sided: as in SortPlan.
    """
    pending = [entry.shard for entry in unsorted(embeddings, sorted_shards, shards)]
    plan = SortPlan(embeddings.root, sorted_shards.root, partitions, assignments, doubtful, sided)
    for _ in spread(plan, pending):
        pass
