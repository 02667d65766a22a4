"""All vectors of an index, or those that pass, compared with some queries.

It is exact, as a search of the embeddings is, but an index's vectors lie uncompressed on disk: they
are read in a fraction of the time.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.folder import Place
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import places
from pipeline.index.bucket_rows import BucketRows, open_rows
from pipeline.search.batches import search_in_batches
from pipeline.search.exact_topk import shard_topk
from pipeline.search.merge import Merged
from pipeline.search.passing import Passing
from pipeline.search.shard_searcher import part_columns


@dataclass(frozen=True)
class ScanPlan:
    """All a worker needs to compare queries with every vector of any part of an index."""

    name: ClassVar[str] = "compare"
    index: Place
    embeddings: Place
    queries: Vectors  # f32 (q, d)
    depth: int
    passing: Passing | None = None  # the images to compare; none: all

    def start(self) -> ShardFunction:
        """Return the function that gives each query's ``depth`` best of one part."""
        import faiss  # here, as in shard_topk

        faiss.omp_set_num_threads(1)
        index = Store.open(self.index, "index")
        buried = Store.open(self.embeddings, "embeddings").tombstones()

        def compare(part: int) -> pa.Table:
            started = time.time()
            rows = open_rows(index, part)
            ids, vectors = self._compared(rows, buried)
            best = shard_topk(self.queries, ids, vectors, self.depth, part)
            return shard_stats(part, len(rows.ids), started, **part_columns(best))

        return compare

    def _compared(self, rows: BucketRows, buried: Ids) -> tuple[Ids, Vectors]:
        rows.refuse_changed_buckets()
        seen = ~np.isin(rows.ids, buried)
        if self.passing:
            seen &= self.passing.among(rows.shards, rows.rows)
        if seen.all():
            rows.refuse_changed_vectors()
            return rows.ids, rows.vectors
        some = np.flatnonzero(seen)
        return rows.ids[some], rows.checked_vectors(some)


def scan(
    spread: Spread,
    index: Store,
    embeddings: Store,
    parts: int,
    queries: Vectors,
    k: int,
    record: RunRecord,
    passing: Passing | None = None,
) -> Merged:
    """Return the certified ``k`` best of f32 (q, d) ``queries`` among all images that pass.

    Tombstoned images of ``embeddings`` are left out. ``parts``: those of the index.
    """

    def plan_for(rows: Ids, depth: int) -> ScanPlan:
        return ScanPlan(index.root, embeddings.root, queries[rows], depth, passing)

    found = search_in_batches(spread, plan_for, range(parts), len(queries), k, record)
    return Merged(found.ids, found.scores, _homes(index, found), found.certified)


def _homes(index: Store, found: Merged) -> Ids:
    """Return the embedding shard of each result, whose part ``found`` names."""
    homes, there = found.shards.copy(), found.scores > -np.inf
    for part in np.unique(found.shards[there]).tolist():
        rows, mine = open_rows(index, part), there & (found.shards == part)
        homes[mine] = rows.shards[places(found.ids[mine], rows.ids)]
    return homes
