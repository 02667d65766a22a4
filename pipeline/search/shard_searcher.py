"""One shard's exact top-k for a batch of queries, in the worker that reads the shard."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import AnyArray, Vectors
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, flat_column
from pipeline.search.exact_topk import ShardTopK, shard_topk
from pipeline.search.passing import Passing, read_passing


@dataclass(frozen=True)
class SearchPlan:
    """All a worker needs to search any shard of an embedding store."""

    name: ClassVar[str] = "search"
    embeddings: Place
    queries: Vectors  # f32 (q, d)
    depth: int
    passing: Passing | None = None  # the images to compare; none: all

    def start(self) -> ShardFunction:
        """Return the function that searches one shard; its answer is one row of flat lists."""
        import faiss  # here, as in shard_topk

        faiss.omp_set_num_threads(1)
        store = Store.open(self.embeddings, "embeddings")

        def search_shard(shard: int) -> pa.Table:
            started = time.time()
            table = read_passing(store, shard, ["id", "embedding"], self.passing)
            vectors = embedding_matrix(table["embedding"])
            ids = table["id"].to_numpy()
            part = shard_topk(self.queries, ids, vectors, self.depth, shard)
            return shard_stats(
                shard,
                table.num_rows,
                started,
                **part_columns(part),
            )

        return search_shard


def part_columns(part: ShardTopK) -> dict[str, AnyArray]:
    """Return a shard's answer as the flat columns of one row, which read_part reads."""
    return {
        "ids": part.ids.reshape(-1),
        "scores": part.scores.reshape(-1),
        "cutoff": part.cutoff,
        "best": part.scores.max(axis=1, initial=-np.inf),
    }


def read_part(table: pa.Table) -> ShardTopK:
    """Return what part_columns put into a row as arrays."""
    cutoff = flat_column(table, "cutoff")
    shape = (len(cutoff), -1) if len(flat_column(table, "ids")) else (len(cutoff), 0)
    ids, scores = (
        flat_column(table, "ids").reshape(shape),
        flat_column(table, "scores").reshape(shape),
    )
    shard = table["shard"][0].as_py()
    return ShardTopK(shard, ids, scores, cutoff, flat_column(table, "best"))
