"""One partition joined, and, to measure what that misses, a sample compared with a whole shard."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, flat_column
from pipeline.dedup.pair_join import Members, join_buckets
from pipeline.images.evidence import evidence_columns, evident
from pipeline.index.partitions import Partitions
from pipeline.index.sort_shard import read_partition
from pipeline.search.exact_topk import MARGIN, pair_scores

QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class JoinPlan:
    """All a worker needs to join any part: its own shards, and they with earlier generations'."""

    name: ClassVar[str] = "join"
    sorted: Place
    output: Place
    partitions: Partitions
    similarity: float
    nearest: int = 0  # others that each image is paired with, however far

    def start(self) -> ShardFunction:
        """Return the function that joins one partition and tells what it cost."""
        source = Store.open(self.sorted, "partitions")
        store = Store.open(self.output, "pairs")
        edges, count = self.partitions.edges, self.partitions.count

        def join_partition(number: int) -> pa.Table:
            started = time.time()
            partition, new = number % count, self.partitions.shards(number)
            members = _members(source, partition, new.start, new.stop)
            mine = range(int(edges[partition]), int(edges[partition + 1]))
            pairs = join_buckets(members, mine, self.similarity, self.nearest)
            store.write_shard(number, pairs)
            return shard_stats(number, 1, started, pairs=pairs.num_rows)

        return join_partition


def _members(source: Store, partition: int, first: int, stop: int) -> Members:
    tables = [read_partition(source, shard, partition) for shard in range(stop)]
    old = sum(table.num_rows for table in tables[:first])
    table = pa.concat_tables(tables)
    buckets = flat_column(table, "buckets").reshape(table.num_rows, table["buckets"].type.list_size)
    sided = "reference" in table.column_names
    reference = table["reference"].to_numpy() if sided else None
    vectors = embedding_matrix(table["embedding"])
    return Members(table["id"].to_numpy(), buckets, vectors, old, reference)


@dataclass(frozen=True)
class PartnersPlan:
    """All a worker needs to find, in any embedding shard, every partner of the sampled images.

    Of identical images one is asked about and one compared: ``further`` are left out. An image
    asked about is its own partner.
    """

    name: ClassVar[str] = "compare a sample with all"
    embeddings: Place
    ids: Ids  # (q,)
    vectors: Vectors  # (q, d)
    further: Ids  # (r,): images for which another one stands
    similarity: float
    doubtful: bool = False  # as in SortPlan

    def start(self) -> ShardFunction:
        """Return the function that compares one shard with all sampled images, by brute force."""
        source = Store.open(self.embeddings, "embeddings")
        columns = ["id", "embedding", *evidence_columns(source)]

        def find_partners(shard: int) -> pa.Table:
            started = time.time()
            table = evident(source.read(shard, columns), self.doubtful)
            rows = table.num_rows
            table = table.filter(pa.array(~np.isin(table["id"].to_numpy(), self.further)))
            vectors, ids = embedding_matrix(table["embedding"]), table["id"].to_numpy()
            image, partner = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
            for start in range(0, len(self.ids), QUERIES_AT_ONCE):
                some = self.vectors[start : start + QUERIES_AT_ONCE]
                one, other = np.nonzero(some @ vectors.T >= self.similarity - MARGIN)
                one += start
                scores = pair_scores(self.vectors, one, vectors, other)
                enough = (scores >= self.similarity) | (self.ids[one] == ids[other])
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
