"""The first pass of a search by index: the codes in the probed buckets nominate candidates.

A query's candidates are all images whose coarse score reaches the ``count``-th best in its probed
buckets. That is a fact about the collection alone: parts, workers and batches do not change it.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Vectors
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.index.bucket_rows import BucketRows, open_rows
from pipeline.index.coarse_codes import CoarseCoder, unpacked
from pipeline.search.passing import Passing

PRODUCTS_AT_ONCE = 2**24  # f32: 64 MiB
PLACE = 32  # bits of a row in a place


class Candidates:
    """Each query's best places so far: those whose score reaches its ``count``-th best.

    A place is part << 32 | row; count: one number, or int (queries,).
    """

    def __init__(self, queries: int, count: int | Ids) -> None:
        self.count = np.broadcast_to(count, queries)
        self.least = np.full(queries, -np.inf, np.float32)
        self.query, self.place, self.score = _none()
        self._waiting: list[tuple[AnyArray, ...]] = []
        self._added = 0

    def add(self, query: Ids, place: Ids, score: Vectors) -> None:
        """Take (m,) places in; those below their query's least are dropped."""
        reached = score >= self.least[query]
        self._waiting.append((query[reached], place[reached], score[reached]))
        self._added += int(reached.sum())
        if self._added > 2 * self.count.sum():
            self.settle()

    def settle(self) -> None:
        """Leave no more than each query's ``count`` best, and those that equal the last of them."""
        kept = [(self.query, self.place, self.score), *self._waiting]
        query, place, score = (np.concatenate(values) for values in zip(*kept, strict=True))
        order = np.argsort(query, kind="stable")
        query, place, score = query[order], place[order], score[order]
        starts = np.searchsorted(query, np.arange(len(self.least) + 1))
        for full in np.flatnonzero(np.diff(starts) >= self.count):
            mine = score[starts[full] : starts[full + 1]]
            last = len(mine) - self.count[full]
            self.least[full] = np.partition(mine, last)[last]
        reached = score >= self.least[query]
        self.query, self.place, self.score = query[reached], place[reached], score[reached]
        self._waiting, self._added = [], 0


def _none() -> tuple[Ids, Ids, Vectors]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)


@dataclass(frozen=True)
class NominatePlan:
    """All a worker needs to nominate candidates in any part of an index."""

    name: ClassVar[str] = "nominate"
    index: Place
    embeddings: Place
    queries: Vectors  # of CoarseCoder.queries (q, c)
    probes: Numbers  # int32 (q, p): the buckets of each query
    count: int | Ids  # of each query's candidates
    bits: int  # of CoarseCoder
    passing: Passing | None = None  # the images that may be candidates; none: all

    def start(self) -> ShardFunction:
        """Return the function that nominates in one part.

        What earlier parts left each query as its least keeps this one's answer small.
        """
        index = Store.open(self.index, "index")
        buried = Store.open(self.embeddings, "embeddings").tombstones()
        flat = self.probes.reshape(-1)
        order = np.argsort(flat, kind="stable")
        asked, asking = flat[order], order // max(1, self.probes.shape[1])
        least = np.full(len(self.queries), -np.inf, np.float32)

        def nominate(part: int) -> pa.Table:
            started = time.time()
            rows, found = open_rows(index, part), Candidates(len(self.queries), self.count)
            found.least = least
            for place, bucket in enumerate(rows.buckets):
                first, stop = np.searchsorted(asked, (bucket, bucket + 1))
                if first < stop:
                    self._compare(rows, place, asking[first:stop], buried, part, found)
            found.settle()
            columns = {"query": found.query, "place": found.place, "score": found.score}
            return shard_stats(part, len(rows.ids), started, **columns)

        return nominate

    def _compare(
        self, rows: BucketRows, place: int, mine: Ids, buried: Ids, part: int, found: Candidates
    ) -> None:
        """Nominate in one bucket for the queries ``mine``."""
        some = rows.checked_bucket(place)
        there: Mask = ~np.isin(rows.ids[some], buried)
        if self.passing:
            there &= self.passing.among(rows.shards[some], rows.rows[some])
        inside = some.start + np.flatnonzero(there)
        codes = unpacked(rows.codes[some if there.all() else inside], self.bits)
        step = max(1, PRODUCTS_AT_ONCE // max(1, len(codes)))
        for start in range(0, len(mine), step):
            queries = mine[start : start + step]
            scores = self.queries[queries] @ codes.T
            one, other = np.nonzero(scores >= found.least[queries, None])
            places = (part << PLACE) | inside[other]
            found.add(queries[one], places, scores[one, other])


def nominated(spread: Spread, plan: NominatePlan, parts: Sequence[int]) -> Candidates:
    """Return every query's candidates among ``parts``."""
    found = Candidates(len(plan.queries), plan.count)
    for answer in _answers(spread, plan, parts):
        found.add(*(flat_column(answer, name) for name in ("query", "place", "score")))
    found.settle()
    return found


def _answers(spread: Spread, plan: ShardPlan, parts: Sequence[int]) -> Iterable[pa.Table]:
    return spread(plan, parts) if parts else ()


@dataclass(frozen=True)
class RankPlan:
    """All a worker needs to count, in any part, the codes above given scores."""

    name: ClassVar[str] = "rank"
    index: Place
    queries: Vectors  # of CoarseCoder.queries (q, c)
    scores: Vectors  # f32 (q, k)
    bits: int  # of CoarseCoder

    def start(self) -> ShardFunction:
        """Return the function that counts in one part."""
        index = Store.open(self.index, "index")

        def rank(part: int) -> pa.Table:
            started = time.time()
            rows, above = open_rows(index, part), np.zeros(self.scores.shape, np.int64)
            step = max(1, PRODUCTS_AT_ONCE // max(1, len(self.queries)))
            for start in range(0, len(rows.codes), step):
                codes = unpacked(rows.codes[start : start + step], self.bits)
                found = self.queries @ codes.T
                for column in range(self.scores.shape[1]):
                    above[:, column] += (found > self.scores[:, column, None]).sum(axis=1)
            return shard_stats(part, len(rows.ids), started, above=above.reshape(-1))

        return rank


def coarse_ranks(
    spread: Spread, index: Store, parts: Sequence[int], queries: Vectors, neighbours: Vectors
) -> Ids:
    """Return int64 (q, k): how many of all codes score above each query's neighbours.

    queries f32 (q, d); neighbours f32 (q, k, d).
    """
    coder, (count, k, dimensions) = CoarseCoder.required(index), neighbours.shape
    asked = coder.queries(queries)
    codes = unpacked(coder.codes(neighbours.reshape(-1, dimensions)), coder.bits)
    scores = np.einsum("qc,qkc->qk", asked, codes.reshape(count, k, -1))
    ranks = np.zeros((count, k), np.int64)
    for answer in _answers(spread, RankPlan(index.root, asked, scores, coder.bits), parts):
        ranks += flat_column(answer, "above").reshape(count, k)
    return ranks
