"""Merging the shards' top-k into one answer that is the same for any shards and workers.

FAISS's scores carry rounding that depends on the batch, and its merges break ties by arrival. Here
every pair is scored by one float64 kernel, ties go to the lower id, and a query is *certified*
only when no image a shard left out can reach its top k. The others are asked again, deeper.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.exact_topk import ShardTopK

SPARE = 16
# Above the f32 rounding of an inner product of unit vectors of a few thousand dimensions.
MARGIN = 2e-6
DEEPER = 8


@dataclass(frozen=True)
class Merged:
    """The best k of all shards, by score descending, then id ascending."""

    ids: np.ndarray[Any, Any]  # int64 (q, k), -1 beyond the number of images
    scores: np.ndarray[Any, Any]  # float64 (q, k), -inf there
    certified: np.ndarray[Any, Any]  # bool (q,)


class CertifiedMerge:
    """A running top-k over parts in any order; holds queries x k, however many shards there are."""

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.ids = np.full((queries, k), -1, np.int64)
        self.scores = np.full((queries, k), -np.inf)
        self.cutoff = np.full(queries, -np.inf)

    def add(self, part: ShardTopK) -> None:
        """Take one shard's part in."""
        ids = np.concatenate([self.ids, part.ids], axis=1)
        scores = np.concatenate([self.scores, part.scores], axis=1)
        order = np.lexsort((ids, -scores), axis=1)[:, : self.k]
        self.ids = np.take_along_axis(ids, order, axis=1)
        self.scores = np.take_along_axis(scores, order, axis=1)
        self.cutoff = np.maximum(self.cutoff, part.cutoff)

    def result(self) -> Merged:
        """Return what the parts so far give; certified only with every shard among them."""
        everything = np.isneginf(self.cutoff)
        certified = everything | (self.scores[:, -1] > self.cutoff + MARGIN)
        return Merged(self.ids, self.scores, certified)


Ask = Callable[[np.ndarray[Any, Any], int], Iterable[ShardTopK]]


def search_certified(ask: Ask, queries: int, k: int) -> Merged:
    """Return every query's certified top-k.

    ``ask(rows, depth)`` gives one part from every shard for the queries numbered ``rows``; it is
    called with k + 16, then deeper for those that could not be certified. It ends, since a part
    that holds its whole shard leaves nothing out.
    """
    ids = np.full((queries, k), -1, np.int64)
    scores = np.full((queries, k), -np.inf)
    rows, depth = np.arange(queries), k + SPARE
    while len(rows):
        merge = CertifiedMerge(len(rows), k)
        for part in ask(rows, depth):
            merge.add(part)
        merged = merge.result()
        ids[rows[merged.certified]] = merged.ids[merged.certified]
        scores[rows[merged.certified]] = merged.scores[merged.certified]
        rows, depth = rows[~merged.certified], depth * DEEPER
    return Merged(ids, scores, np.ones(queries, np.bool_))
