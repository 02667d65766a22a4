"""A search by index that stops where a query's own difficulty lets it.

First the nearest buckets, whose codes tell how near images must be to be answers; then the buckets
worth their bytes; then the vectors of the first candidates, and of those candidates that are worth
their bytes. What is done for a query depends on that query and the collection alone.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores, Vectors
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.index.coarse_codes import CoarseCoder
from pipeline.index.gains import CODE_ROW, FIRST_BUCKETS, Gains
from pipeline.index.nominate import Candidates, NominatePlan, nominated
from pipeline.index.partitions import Partitions
from pipeline.index.score_candidates import Found, first_of_each, score_candidates
from pipeline.search.batches import QUERIES_AT_ONCE

FIRST_TIMES = 2  # candidates of the first look at vectors, times the answers
NONE = -1  # no bucket
NOTHING = 1e-30  # neighbours
GAINS_AT_ONCE = 2**22  # of queries times buckets, float64


def queries_at_once(buckets: int) -> int:
    """Return how many queries are asked at once in so many ``buckets``: a gain each is held."""
    return min(QUERIES_AT_ONCE, max(1, GAINS_AT_ONCE // buckets))


@dataclass(frozen=True)
class Searched:
    """Whose index is searched, and for how many answers a query, its own image among them."""

    spread: Spread
    index: Store
    embeddings: Store
    partitions: Partitions
    coder: CoarseCoder
    answers: int

    def nominated(self, queries: Vectors, probes: Numbers, count: int | Ids) -> Candidates:
        """Return the ``count`` candidates of f32 (q, d) in the buckets (q, p), NONE left out."""
        roots = (self.index.root, self.embeddings.root)
        asked, bits = self.coder.queries(queries), self.coder.bits
        plan = NominatePlan(*roots, asked, probes, count, bits)
        return nominated(self.spread, plan, self.partitions.holding(probes))

    def scored(self, queries: Vectors, candidates: Candidates, depth: int) -> Found:
        """Return the ``depth`` best of every query's candidates."""
        return score_candidates(self.spread, self.index, queries, candidates, depth)


@dataclass(frozen=True)
class FirstRound:
    """What the nearest buckets told of each query."""

    nearness: Scores  # (q, b)
    places: Ids  # (q, b) of each bucket in the query's order
    least: Scores  # (q,): the estimated score of the last answer there; -inf where they are fewer

    def probed(self) -> Mask:
        """Return (q, b): the buckets probed already."""
        return self.places < FIRST_BUCKETS

    def repeated(self, times: int) -> "FirstRound":
        """Return each query so many ``times``, one after the other."""
        return FirstRound(
            np.repeat(self.nearness, times, axis=0),
            np.repeat(self.places, times, axis=0),
            np.repeat(self.least, times),
        )


def first_round(searched: Searched, queries: Vectors) -> FirstRound:
    """Probe the FIRST_BUCKETS nearest buckets of each of f32 (q, d) ``queries``."""
    nearness = searched.partitions.grid.nearness(queries)
    order = np.argsort(-nearness, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None], axis=1)
    probes = order[:, :FIRST_BUCKETS].astype(np.int32)
    found = searched.nominated(queries, probes, searched.answers)
    step, offset = searched.coder.estimating(queries)
    return FirstRound(nearness, places, found.least * step + offset)


@dataclass(frozen=True)
class Look:
    """The answers of some queries, and what they took."""

    found: Found
    probed: Ids  # (q,) buckets
    taken: Ids  # (q,) candidates
    read: Scores  # (q,) bytes


def difficulty(first: FirstRound, gains: Gains) -> Scores:
    """Return float64 (q,): the log of the neighbours expected beyond the first round's buckets."""
    expected = np.exp(gains.of_buckets(first.nearness, first.places, first.least))
    beyond = np.where(first.probed(), 0.0, expected).sum(axis=1)
    logs: Scores = np.log(np.maximum(beyond, NOTHING))
    return logs


def further_rounds(
    searched: Searched,
    queries: Vectors,
    first: FirstRound,
    gains: Gains,
    levels: Scores,
    most: Ids,
    depth: int,
) -> Look:
    """Return the ``depth`` best of each query among the buckets and candidates worth their bytes.

    levels (q,): the log of the neighbours expected a byte, below which a query stops; most (q,):
    candidates of each that are looked at.
    """
    chosen = chosen_buckets(first, gains, levels)
    candidates = Ranked.of(searched.nominated(queries, probes_of(chosen), most))
    early = candidates.rank <= FIRST_TIMES * searched.answers
    kept = candidates.some(early)
    looked = searched.scored(queries, kept, max(depth, searched.answers))
    least = least_scores(looked, len(queries), searched.answers)
    estimates = candidates.estimates(*searched.coder.estimating(queries))
    expected = gains.of_candidates(estimates, candidates.rank, least[candidates.query])
    dimensions = queries.shape[1]
    enough = expected >= levels[candidates.query] + np.log(4.0 * dimensions)
    later = searched.scored(queries, candidates.some(enough & ~early), depth)
    taken = np.bincount(candidates.query[enough | early], minlength=len(queries))
    compared = np.where(chosen, gains.rows, 0).sum(axis=1)
    read = compared * float(CODE_ROW) + taken * 4.0 * dimensions
    return Look(_best(looked, later, depth), chosen.sum(axis=1), taken, read)


def chosen_buckets(first: FirstRound, gains: Gains, levels: Scores) -> Mask:
    """Return (q, b): the first round's buckets, and those worth their bytes at ``levels`` (q,)."""
    expected = gains.of_buckets(first.nearness, first.places, first.least)
    return first.probed() | (expected - gains.cost_of_buckets() >= levels[:, None])


def probes_of(chosen: Mask) -> Numbers:
    """Return int32 (q, p): the buckets of each row of ``chosen`` (q, b), then NONE."""
    order = np.argsort(~chosen, axis=1, kind="stable")[:, : chosen.sum(axis=1).max(initial=0)]
    return np.where(np.take_along_axis(chosen, order, axis=1), order, NONE).astype(np.int32)


@dataclass(frozen=True)
class Ranked:
    """Candidates by query, the best codes first."""

    query: Ids  # (m,), ascending
    place: Ids
    score: AnyArray  # of the codes
    rank: Ids  # one plus how many of the query's candidates have a higher score

    @classmethod
    def of(cls, found: Candidates) -> "Ranked":
        """Rank the candidates ``found``."""
        order = np.lexsort((-found.score, found.query))
        query, score = found.query[order], found.score[order]
        other = np.ones(len(order), np.bool_)
        other[1:] = (query[1:] != query[:-1]) | (score[1:] != score[:-1])
        run = np.maximum.accumulate(np.where(other, np.arange(len(order)), 0))
        return cls(query, found.place[order], score, run - np.searchsorted(query, query) + 1)

    def some(self, mine: Mask) -> Candidates:
        """Return the candidates ``mine`` (m,)."""
        found = Candidates(0, 0)
        found.query, found.place = self.query[mine], self.place[mine]
        return found

    def estimates(self, step: Scores, offset: Scores) -> Scores:
        """Return float64 (m,) of their scores; step, offset (q,) as of CoarseCoder.estimating."""
        estimates: Scores = self.score * step[self.query] + offset[self.query]
        return estimates


def least_scores(found: Found, queries: int, answers: int) -> Scores:
    """Return (queries,): the score of each query's last of ``answers``, -inf where fewer are."""
    least = np.full(queries, -np.inf)
    rank = np.arange(len(found.query)) - np.searchsorted(found.query, found.query)
    last = rank == answers - 1
    least[found.query[last]] = found.scores[last]
    return least


def _best(one: Found, other: Found, depth: int) -> Found:
    query, scores, ids, shards = (
        np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("query", "scores", "ids", "shards")
    )
    best = first_of_each(query, scores, ids, depth)
    return Found(query[best], scores[best], ids[best], shards[best])
