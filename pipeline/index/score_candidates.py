"""The second pass of a search by index: candidates' own vectors, scored by the one exact kernel."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Scores, Vectors
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.index.bucket_rows import open_rows
from pipeline.index.nominate import PLACE, Candidates
from pipeline.search.exact_topk import near_pairs, pair_scores

COLUMNS = ("query", "score", "id", "home")  # home: the embedding shard


@dataclass(frozen=True)
class ScorePlan:
    """All a worker needs to score the candidates in any part of an index."""

    name: ClassVar[str] = "score"
    index: Place
    queries: Vectors  # f32 (q, d)
    candidates: Mapping[int, tuple[Ids, Ids]]  # of each part: queries and rows (m,)
    k: int

    def start(self) -> ShardFunction:
        """Return the function that gives each query's ``k`` best candidates of one part."""
        index = Store.open(self.index, "index")

        def score(part: int) -> pa.Table:
            started = time.time()
            rows, (query, row) = open_rows(index, part), self.candidates[part]
            asked, place = np.unique(row, return_inverse=True)
            vectors = rows.checked_vectors(asked)
            near = near_pairs(self.queries, query, vectors, place, self.k)
            query, row, place = query[near], row[near], place[near]
            scores = pair_scores(self.queries, query, vectors, place)
            best = first_of_each(query, scores, rows.ids[row], self.k)
            found = (query[best], scores[best], rows.ids[row[best]], rows.shards[row[best]])
            columns = dict(zip(COLUMNS, found, strict=True))
            return shard_stats(part, len(rows.ids), started, **columns)

        return score


def first_of_each(query: Ids, scores: Scores, ids: Ids, k: int) -> Ids:
    """Return the places of each query's ``k`` best of (m,): by score descending, then id."""
    order = np.lexsort((ids, -scores, query))
    ranked = query[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    best: Ids = order[rank < k]
    return best


@dataclass(frozen=True)
class Found:
    """Each query's best images, best first, and the embedding shard that holds each."""

    query: Ids  # (m,), ascending
    scores: Scores
    ids: Ids
    shards: Ids


def score_candidates(
    spread: Spread, index: Store, queries: Vectors, candidates: Candidates, k: int
) -> Found:
    """Return the ``k`` best of every query's candidates."""
    parts = candidates.place >> PLACE
    rows = candidates.place & ((1 << PLACE) - 1)
    mine = {
        int(part): (candidates.query[parts == part], rows[parts == part])
        for part in np.unique(parts)
    }
    empty = [(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))]
    answers = spread(ScorePlan(index.root, queries, mine, k), list(mine)) if mine else ()
    found = [tuple(flat_column(answer, name) for name in COLUMNS) for answer in answers]
    query, scores, ids, shards = (
        np.concatenate(values) for values in zip(*empty, *found, strict=True)
    )
    best = first_of_each(query, scores, ids, k)
    return Found(query[best], scores[best], ids[best], shards[best])
