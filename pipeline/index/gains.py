"""What a bucket, or a candidate, is expected to hold of a query's nearest images: where to stop.

Two Poisson regressions, fitted to sampled queries, give the expected number of true neighbours of a
bucket whose codes were not compared, and of a candidate whose vector was not read. A search goes on
while that is enough for the bytes to read, so a hard query does more than an easy one (as in Li et
al.: Improving approximate nearest neighbor search through learned adaptive early termination, 2020;
Chatzakis et al.: DARTH, 2025). The models need not be right: what they give is measured.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Scores
from pipeline.core.store import Store

CODE_ROW = 84  # bytes a search reads of a row whose bucket it probes
FIRST_BUCKETS = 2  # those probed of every query; the nearest image seen there tells of the others
NEVER = -30.0  # log of a gain
NAME = "gains.npz"
LEAST_COSINE = -1.0
STEPS, RIDGE, LARGEST_STEP, CONVERGED = 50, 1e-3, 3.0, 1e-6

Facts = Sequence[AnyArray]  # float64, each broadcast to the shape of the gains


@dataclass(frozen=True)
class Gains:
    """The weights of both models, and how many images each bucket holds."""

    buckets: Scores  # (f,)
    candidates: Scores  # (g,)
    rows: Ids  # (b,) images of each bucket

    def of_buckets(self, nearness: Scores, places: Ids, least: Scores) -> Scores:
        """Return the log of what each bucket (q, b) is expected to hold; as bucket_facts."""
        return _predicted(self.buckets, bucket_facts(nearness, places, self.rows, least))

    def of_candidates(self, estimates: Scores, ranks: Ids, least: Scores) -> Scores:
        """Return the log of how likely each candidate (m,) is a neighbour; as candidate_facts."""
        return _predicted(self.candidates, candidate_facts(estimates, ranks, least))

    def cost_of_buckets(self) -> Scores:
        """Return float64 (b,): the log of the bytes that comparing each bucket's codes reads."""
        costs: Scores = np.log(CODE_ROW * np.maximum(1.0, self.rows))
        return costs

    def attach(self, store: Store) -> None:
        """Keep the gains in ``store``."""
        out = io.BytesIO()
        np.savez(out, buckets=self.buckets, candidates=self.candidates, rows=self.rows)
        store.attach(NAME, out.getvalue())

    @classmethod
    def attached(cls, store: Store) -> "Gains | None":
        """Return the gains kept in ``store``, None where none are."""
        data = store.attached(NAME)
        if data is None:
            return None
        kept = np.load(io.BytesIO(data), allow_pickle=False)
        return cls(kept["buckets"], kept["candidates"], kept["rows"])


def bucket_facts(nearness: Scores, places: Ids, rows: Ids, least: Scores) -> Facts:
    """Return what the gains of buckets (q, b) are predicted by.

    nearness (q, b): of each bucket to the query; places (q, b): 0 for its nearest; rows (b,);
    least (q,): the estimated score of the last image that would be an answer by now.
    """
    known = np.maximum(least, LEAST_COSINE)[:, None]
    gap = known - nearness
    behind = nearness - nearness.max(axis=1, keepdims=True)
    return (np.ones(1), gap, gap * gap, np.log1p(rows), np.log1p(places), behind, known)


def candidate_facts(estimates: Scores, ranks: Ids, least: Scores) -> Facts:
    """Return what the gains of candidates (m,) are predicted by.

    estimates (m,): of their scores, by their codes; ranks (m,): 1 for a query's best; least (m,):
    the score of the last of the query's answers, were there no further candidates.
    """
    known = np.maximum(least, LEAST_COSINE)
    gap, rank = known - estimates, np.log(ranks)
    return (np.ones(1), rank, gap, gap * np.abs(gap), known, rank * rank)


def fit_gains(there: Facts, found: Facts) -> Scores:
    """Return the weights (f,) of a Poisson regression by Newton's method, with a small ridge.

    there: the facts (n,) of all that may hold neighbours; found: those (m,) of what holds one, as
    many times as it holds some.
    """
    every, held = _matrix(there), _matrix(found)
    if not len(every) or not len(held):
        return np.append(NEVER, np.zeros(every.shape[1] - 1))
    middle, spread = every.mean(axis=0), every.std(axis=0) + 1e-9
    middle[0], spread[0] = 0, 1
    every, summed = (every - middle) / spread, ((held - middle) / spread).sum(axis=0)
    weights = np.append(np.log(len(held) / len(every)), np.zeros(every.shape[1] - 1))
    for _ in range(STEPS):
        expected = np.exp(np.clip(every @ weights, NEVER, -NEVER))
        slope = summed - every.T @ expected - RIDGE * weights
        bend = (every * expected[:, None]).T @ every + RIDGE * np.eye(len(weights))
        step = np.clip(np.linalg.solve(bend, slope), -LARGEST_STEP, LARGEST_STEP)
        weights = weights + step
        if np.abs(step).max() < CONVERGED:
            break
    plain: Scores = weights / spread
    plain[0] = weights[0] - (weights[1:] * middle[1:] / spread[1:]).sum()
    return plain


def _matrix(facts: Facts) -> Scores:
    columns = np.broadcast_arrays(*(np.asarray(fact, np.float64) for fact in facts))
    return np.stack([column.ravel() for column in columns], axis=1)


def _predicted(weights: Scores, facts: Facts) -> Scores:
    # Term by term: a product of matrices would have other bits in another batch.
    total: Scores = sum(weight * fact for weight, fact in zip(weights, facts, strict=True))
    predicted: Scores = np.clip(total, NEVER, -NEVER)
    return predicted
