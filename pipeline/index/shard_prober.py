"""One index shard's top-k within the buckets that each query probes, in the worker."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Numbers, Vectors
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index.bucket_lists import BucketLists, probed_topk
from pipeline.index.shard_indexer import read_buckets
from pipeline.index.vector_codes import decode_vectors
from pipeline.search.shard_searcher import part_columns


@dataclass(frozen=True)
class ProbePlan:
    """All a worker needs to probe any shard of an index."""

    name: ClassVar[str] = "probe"
    index: Path
    embeddings: Path
    queries: Vectors  # f32 (q, d)
    probes: Numbers  # int32 (q, p): the buckets of each query
    buckets: int
    depth: int

    def start(self) -> ShardFunction:
        """Return the function that probes one shard; its answer is as shard_searcher's."""
        faiss.omp_set_num_threads(1)
        index = Store.open(self.index, "index")
        source = Store.open(self.embeddings, "embeddings")
        wanted = np.unique(self.probes).tolist()

        def probe_shard(shard: int) -> pa.Table:
            started = time.time()
            table = read_buckets(index, shard, wanted)
            buried = np.isin(table["id"].to_numpy(), source.tombstones())
            table = table.filter(pa.array(~buried))
            exact = coded = decode_vectors(table)
            lists = BucketLists(table["bucket"].to_numpy(), coded, self.buckets)
            error = float(table["error"].to_numpy().max(initial=0))
            if error:
                whole = embedding_matrix(source.read_whole(shard, ["embedding"])["embedding"])
                exact = whole[table["row"].to_numpy()]
            part = probed_topk(
                lists,
                self.queries,
                self.probes,
                table["id"].to_numpy(),
                exact,
                self.depth,
                shard,
                error,
            )
            return shard_stats(
                shard,
                index_rows(index, shard),
                started,
                **part_columns(part),
                scored=table.num_rows,
            )

        return probe_shard


def index_rows(index: Store, shard: int) -> int:
    """Return the rows of an index shard, read or not."""
    rows: int = pa.parquet.read_metadata(index.shards.path(shard)).num_rows
    return rows
