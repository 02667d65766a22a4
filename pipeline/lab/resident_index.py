"""A whole index in memory, for many searches by one process."""

import numpy as np

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index.bucket_lists import BucketLists, probed_topk
from pipeline.index.grid import Grid
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import Merged, search_certified

ROWS_AT_ONCE = 65_536


class ResidentIndex:
    """Halves in FAISS's lists to be scanned, and the f32 vectors to score what they nominate."""

    def __init__(self, index: Store, embeddings: Store) -> None:
        """Load every shard; holds 6 bytes a dimension and 28 a vector."""
        self.grid = Grid.required(index)
        shards = [entry.shard for entry in index.manifest()]
        tables = [index.read(shard, ["id", "bucket", "row"]) for shard in shards]
        ids = np.concatenate([table["id"].to_numpy() for table in tables])
        buckets = np.concatenate([table["bucket"].to_numpy() for table in tables])
        order = np.lexsort((ids, buckets))
        place = np.empty(len(ids), np.int64)
        place[order] = np.arange(len(ids))
        self.ids, start = ids[order], 0
        for shard, table in zip(shards, tables, strict=True):
            whole = embedding_matrix(embeddings.read_whole(shard, ["embedding"])["embedding"])
            if not start:
                self.vectors = np.empty((len(ids), whole.shape[1]), np.float32)
            stop = start + table.num_rows
            self.vectors[place[start:stop]] = whole[table["row"].to_numpy()]
            start = stop
        self.lists = BucketLists(buckets[order], self.vectors, self.grid.buckets, "f16")
        self.error = _largest_loss(self.vectors)

    def search(self, queries: Vectors, k: int, probes: int) -> Merged:
        """Return the exact top k within the ``probes`` nearest buckets of f32 (q, d) queries."""
        nearest = self.grid.nearest(queries, probes)

        def ask(rows: Ids, depth: int) -> list[ShardTopK]:
            asked = (queries[rows], nearest[rows], self.ids, self.vectors, depth, 0, self.error)
            return [probed_topk(self.lists, *asked)]

        return search_certified(ask, len(queries), k)


def _largest_loss(vectors: Vectors) -> float:
    """Return the most that coding a row in halves can change its product with a unit vector."""
    largest = 0.0
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        some = vectors[start : start + ROWS_AT_ONCE]
        lost = np.linalg.norm(some - some.astype(np.float16).astype(np.float32), axis=1)
        largest = max(largest, float(lost.max(initial=0)))
    return largest * 1.001  # this norm itself is rounded
