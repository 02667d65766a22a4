"""Merging the shards' top-k into one answer that is the same for any shards and workers.

FAISS's scores carry rounding that depends on the batch, and its merges break ties by arrival. Here
every pair is scored by one float64 kernel, ties go to the lower id, and a query is *certified*
only when no image a shard left out can reach its top k. The others are asked again, deeper.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Mask, Scores
from pipeline.search.exact_topk import MARGIN, ShardTopK

SPARE = 16
DEEPER = 8


@dataclass(frozen=True)
class Merged:
    """The best k of all shards, by score descending, then id ascending."""

    ids: Ids  # int64 (q, k)
    scores: Scores  # float64 (q, k); -inf: no image is here, whatever its id says
    shards: Ids  # int64 (q, k): where each of them lies
    certified: Mask  # bool (q,)


class CertifiedMerge:
    """A running top-k over parts in any order; holds queries x k, however many shards there are.

    Only scores that reach a query's k-th so far are kept, and sorted in once they are many.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.ids = np.zeros((queries, k), np.int64)
        self.scores = np.full((queries, k), -np.inf)
        self.shards = np.zeros((queries, k), np.int64)
        self.cutoff = np.full(queries, -np.inf)
        self._waiting: list[tuple[AnyArray, ...]] = []  # row, score, id, shard: each (n,)
        self._waiting_scores = 0

    def add(self, part: ShardTopK) -> None:
        """Take one shard's part in."""
        np.maximum(self.cutoff, part.cutoff, out=self.cutoff)
        least = self.scores[:, -1]
        best = part.scores.max(axis=1, initial=-np.inf) if part.best is None else part.best
        rows = np.flatnonzero(best >= least)
        near, columns = np.nonzero(part.scores[rows] >= least[rows, None])
        if len(near):
            rows = rows[near]
            found = (part.scores[rows, columns], part.ids[rows, columns])
            self._waiting.append((rows, *found, np.full(len(rows), part.shard)))
            self._waiting_scores += len(rows)
        if self._waiting_scores > self.scores.size // 2:
            self._sort_in()

    def _sort_in(self) -> None:
        """Sort what waits into the top k of its queries."""
        rows, scores, ids, shards = map(np.concatenate, zip(*self._waiting, strict=True))
        counts = np.bincount(rows, minlength=len(self.scores))
        touched = np.flatnonzero(counts)
        first = np.argsort(rows, kind="stable")
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + self.k
        line = np.repeat(np.arange(len(touched)), counts[touched])
        wide = np.full((len(touched), self.k + counts.max()), -np.inf)
        names, homes = np.zeros(wide.shape, np.int64), np.zeros(wide.shape, np.int64)
        facts: tuple[tuple[AnyArray, AnyArray, AnyArray], ...] = (
            (wide, self.scores, scores),
            (names, self.ids, ids),
            (homes, self.shards, shards),
        )
        for whole, kept, new in facts:
            whole[:, : self.k], whole[line, place] = kept[touched], new[first]
        order = _best_first(wide, names)[:, : self.k]
        for whole, kept, _ in facts:
            kept[touched] = np.take_along_axis(whole, order, axis=1)
        self._waiting, self._waiting_scores = [], 0

    def result(self) -> Merged:
        """Return what the parts so far give; certified only with every shard among them."""
        if self._waiting:
            self._sort_in()
        everything = np.isneginf(self.cutoff)
        certified = everything | (self.scores[:, -1] > self.cutoff + MARGIN)
        return Merged(self.ids, self.scores, self.shards, certified)


def _best_first(scores: Scores, ids: Ids) -> Ids:
    """Return each row's order by score descending, then id; only rows with ties need the ids."""
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    tied = np.flatnonzero(
        ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] > -np.inf)).any(axis=1)
    )
    order[tied] = np.lexsort((ids[tied], -scores[tied]), axis=1)
    return order


Ask = Callable[[Ids, int], Iterable[ShardTopK]]


def search_certified(ask: Ask, queries: int, k: int) -> Merged:
    """Return every query's certified top-k.

    ``ask(rows, depth)`` gives one part from every shard for the queries numbered ``rows``; it is
    called with k + 16, then deeper for those that could not be certified. It ends, since a part
    that holds its whole shard leaves nothing out.
    """
    ids = np.zeros((queries, k), np.int64)
    scores = np.full((queries, k), -np.inf)
    shards = np.zeros((queries, k), np.int64)
    rows, depth = np.arange(queries), k + SPARE
    while len(rows):
        merge = CertifiedMerge(len(rows), k)
        for part in ask(rows, depth):
            merge.add(part)
        merged = merge.result()
        ids[rows[merged.certified]] = merged.ids[merged.certified]
        scores[rows[merged.certified]] = merged.scores[merged.certified]
        shards[rows[merged.certified]] = merged.shards[merged.certified]
        rows, depth = rows[~merged.certified], depth * DEEPER
    return Merged(ids, scores, shards, np.ones(queries, np.bool_))
