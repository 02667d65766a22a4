"""The two halves of a bucketed join over shards: sort a shard by partition, join a partition.

A partition is a run of neighbouring buckets. The first half writes, for every embedding shard, its
vectors sorted by partition, once in each partition where they have a bucket; the second reads one
partition's row groups out of all those files. No more than a partition is in memory at once.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Numbers, Vectors
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix, flat_column
from pipeline.dedup.pair_join import Members, join_buckets
from pipeline.index.grid import Grid
from pipeline.search.exact_topk import pair_scores
from pipeline.search.merge import MARGIN

ROW_GROUP = 256
QUERIES_AT_ONCE = 512


def partition_edges(buckets: int, partitions: int) -> Ids:
    """Return int64 (partitions + 1,): partition p holds the buckets edges[p] to edges[p + 1]."""
    return np.linspace(0, buckets, partitions + 1).round().astype(np.int64)


@dataclass(frozen=True)
class SortPlan:
    """All a worker needs to sort any embedding shard by partition."""

    name: ClassVar[str] = "sort"
    embeddings: Path
    output: Path
    grid: Grid
    assignments: int  # buckets a vector
    partitions: int

    def start(self) -> ShardFunction:
        """Return the function that sorts one shard and tells what it cost."""
        faiss.omp_set_num_threads(1)
        source = Store.open(self.embeddings, "embeddings")
        store = Store.open(self.output, "partitions")
        edges = partition_edges(self.grid.buckets, self.partitions)

        def sort_shard(shard: int) -> pa.Table:
            started = time.time()
            table = source.read_whole(shard, ["id", "embedding"])
            vectors = embedding_matrix(table["embedding"])
            nearest = self.grid.nearest(vectors, self.assignments)
            ids = table["id"].to_numpy()
            store.write_shard(
                shard, partition_table(ids, vectors, nearest, edges), row_group=ROW_GROUP
            )
            return shard_stats(shard, table.num_rows, started)

        return sort_shard


def partition_table(ids: Ids, vectors: Vectors, nearest: Numbers, edges: Ids) -> pa.Table:
    """Return (partition, id, buckets, embedding), by partition, then id; a vector once in each."""
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
            "buckets": pa.FixedSizeListArray.from_arrays(flat, nearest.shape[1]),
            "embedding": embedding_column(vectors[rows]),
        }
    )


@dataclass(frozen=True)
class JoinPlan:
    """All a worker needs to join any partition of any generation.

    Job number g x partitions + p joins partition p for generation g: its own shards, and they with
    those of earlier generations.
    """

    name: ClassVar[str] = "join"
    sorted: Path
    output: Path
    buckets: int
    partitions: int
    generations: tuple[int, ...]  # where each generation's shards end
    similarity: float

    def start(self) -> ShardFunction:
        """Return the function that joins one partition and tells what it cost."""
        source = Store.open(self.sorted, "partitions")
        store = Store.open(self.output, "pairs")
        edges = partition_edges(self.buckets, self.partitions)

        def join_partition(number: int) -> pa.Table:
            started = time.time()
            generation, partition = divmod(number, self.partitions)
            stop = self.generations[generation]
            first = self.generations[generation - 1] if generation else 0
            members = _members(source, partition, first, stop)
            mine = range(int(edges[partition]), int(edges[partition + 1]))
            pairs = join_buckets(members, mine, self.similarity)
            store.write_shard(number, pairs)
            return shard_stats(number, 1, started, pairs=pairs.num_rows)

        return join_partition


def _members(source: Store, partition: int, first: int, stop: int) -> Members:
    tables = [_read_partition(source, shard, partition) for shard in range(stop)]
    old = sum(table.num_rows for table in tables[:first])
    table = pa.concat_tables(tables)
    buckets = flat_column(table, "buckets").reshape(table.num_rows, table["buckets"].type.list_size)
    return Members(table["id"].to_numpy(), buckets, embedding_matrix(table["embedding"]), old)


def _read_partition(source: Store, shard: int, partition: int) -> pa.Table:
    return source.read_whole(shard, filters=[("partition", "==", partition)])


@dataclass(frozen=True)
class PartnersPlan:
    """All a worker needs to find, in any embedding shard, every partner of the sampled images.

    Of identical images one is asked about and one compared: ``further`` are left out. An image
    asked about is its own partner where its score with itself is enough.
    """

    name: ClassVar[str] = "compare a sample with all"
    embeddings: Path
    ids: Ids  # (q,)
    vectors: Vectors  # (q, d)
    further: Ids  # (r,): images for which another one stands
    similarity: float

    def start(self) -> ShardFunction:
        """Return the function that compares one shard with all sampled images, by brute force."""
        source = Store.open(self.embeddings, "embeddings")

        def find_partners(shard: int) -> pa.Table:
            started = time.time()
            table = source.read(shard, ["id", "embedding"])
            rows = table.num_rows
            table = table.filter(pa.array(~np.isin(table["id"].to_numpy(), self.further)))
            vectors, ids = embedding_matrix(table["embedding"]), table["id"].to_numpy()
            image, partner = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
            for start in range(0, len(self.ids), QUERIES_AT_ONCE):
                some = self.vectors[start : start + QUERIES_AT_ONCE]
                one, other = np.nonzero(some @ vectors.T >= self.similarity - MARGIN)
                one += start
                scores = pair_scores(self.vectors, one, vectors, other)
                enough = scores >= self.similarity
                image.append(self.ids[one[enough]])
                partner.append(ids[other[enough]])
            return shard_stats(
                shard,
                rows,
                started,
                image=np.concatenate(image),
                partner=np.concatenate(partner),
            )

        return find_partners
