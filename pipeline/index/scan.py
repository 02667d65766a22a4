"""All vectors of an index compared with some queries: exact, as a search of the embeddings is.

An index's vectors lie uncompressed on disk, so they are read in a fraction of the time.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import places
from pipeline.index.bucket_rows import open_rows
from pipeline.search.batches import search_in_batches
from pipeline.search.exact_topk import shard_topk
from pipeline.search.merge import Merged
from pipeline.search.shard_searcher import part_columns


@dataclass(frozen=True)
class ScanPlan:
    """All a worker needs to compare queries with every vector of any part of an index."""

    name: ClassVar[str] = "compare"
    index: Path
    embeddings: Path
    queries: Vectors  # f32 (q, d)
    depth: int

    def start(self) -> ShardFunction:
        """Return the function that gives each query's ``depth`` best of one part."""
        faiss.omp_set_num_threads(1)
        index = Store.open(self.index, "index")
        buried = Store.open(self.embeddings, "embeddings").tombstones()

        def compare(part: int) -> pa.Table:
            started = time.time()
            rows = open_rows(index, part)
            rows.refuse_changed()
            ids, vectors = rows.ids, rows.vectors
            if not (seen := ~np.isin(ids, buried)).all():
                ids, vectors = ids[seen], vectors[seen]
            best = shard_topk(self.queries, ids, vectors, self.depth, part)
            return shard_stats(part, len(rows.ids), started, **part_columns(best))

        return compare


def scan(
    spread: Spread,
    index: Store,
    embeddings: Store,
    parts: int,
    queries: Vectors,
    k: int,
    record: RunRecord,
) -> Merged:
    """Return the certified ``k`` best of f32 (q, d) ``queries`` among all images of ``index``.

    Tombstoned images of ``embeddings`` are left out. ``parts``: those of the index.
    """

    def plan_for(rows: Ids, depth: int) -> ScanPlan:
        return ScanPlan(index.root, embeddings.root, queries[rows], depth)

    found = search_in_batches(spread, plan_for, range(parts), len(queries), k, record)
    return Merged(found.ids, found.scores, _homes(index, found), found.certified)


def _homes(index: Store, found: Merged) -> Ids:
    """Return the embedding shard of each result, whose part ``found`` names."""
    homes, there = found.shards.copy(), found.scores > -np.inf
    for part in np.unique(found.shards[there]).tolist():
        rows, mine = open_rows(index, part), there & (found.shards == part)
        homes[mine] = rows.shards[places(found.ids[mine], rows.ids)]
    return homes
