"""From which chance on pairs are kept, so that the precision or recall asked for is expected.

A look tells how likely a copy, a look-alike and another picture are where they come in FITTED
shares. Which shares of a collection's own candidates they are is estimated from the looks
themselves, by expectation and maximisation (Saerens, Latinne and Decaestecker, Adjusting the
Outputs of a Classifier to New a Priori Probabilities, 2002): where no other thing before one
background is met, a caption is dearly taken for one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import pdtr, pdtrik  # opened in a quarter of the time of scipy.stats

from pipeline.core.arrays import Reals, Scores

ALIKES = 0.15  # share of the pictures that are no copies which look-alikes stand for
FITTED = (0.5, 0.5 * (1 - ALIKES), 0.5 * ALIKES)  # copies, others, look-alikes
UNSEEN = 3.0  # look-alikes that may be among any candidates unseen, at 95 %: the rule of three
ROUNDS, SETTLED = 500, 1e-6  # at most; change of a share from which no more are made
LEAST = 0.5  # chance below which no pair is kept, however many of the candidates are copies


@dataclass(frozen=True)
class Shares:
    """What shares of the candidates are copies and look-alikes; the rest are other pictures."""

    copies: float
    look_alikes: float


@dataclass(frozen=True)
class Kept:
    """What keeping pairs from ``least`` on is expected to give among the candidates."""

    least: float  # chance, 0 to 1
    precision: float
    recall: float
    shares: Shares  # that are expected


def keep(
    sure: Scores, alike: Scores, precision: float | None, recall: float | None, confidence: float
) -> Kept:
    """Return the least chance that gives what is asked, of looks ``sure`` and ``alike`` (p,).

    Of a precision the lowest one that gives it with ``confidence``, so that most pairs are kept: as
    many are wrong as of a Poisson number whose mean is the sum of each one's chance. Of a recall
    alone, or where both cannot be had, the highest one that is expected to reach it.
    """
    shares = shares_among(sure, alike)
    likely = np.sort(chances(sure, alike, shares))[::-1]
    count = np.arange(1, len(likely) + 1)
    precisions = np.cumsum(likely) / count
    recalls = np.cumsum(likely) / max(likely.sum(), np.finfo(float).tiny)
    kept = 0
    if precision is not None:
        wrong = _most_wrong(confidence, np.cumsum(1 - likely))
        enough = (wrong <= (1 - precision) * count) & (precisions >= precision)
        kept = int(np.flatnonzero(enough).max(initial=-1)) + 1
    if recall is not None:
        kept = max(kept, int(np.searchsorted(recalls, recall)) + 1)
    kept = min(kept, int((likely >= LEAST).sum()))
    if not kept:
        return Kept(1.0, 1.0, 0.0, shares)
    least = float(likely[kept - 1])
    return Kept(least, float(precisions[kept - 1]), float(recalls[kept - 1]), shares)


def _most_wrong(confidence: float, expected: Scores) -> Scores:
    """Return the least number that a Poisson number of mean ``expected`` (p,) is not above with
    ``confidence``.
    """
    most = np.ceil(pdtrik(confidence, expected))
    fewer = np.maximum(most - 1, 0)
    return np.asarray(np.where(pdtr(fewer, expected) >= confidence, fewer, most))


def shares_among(sure: Scores, alike: Scores) -> Shares:
    """Return the shares among pairs that are copies by ``sure`` (p,), look-alikes by ``alike``."""
    densities = _densities(sure, alike)
    shares = np.array(FITTED)
    for _ in range(ROUNDS if len(sure) else 0):
        # Not a product by BLAS, whose threads would add up in an order of their own.
        mixed = np.einsum("pk,k->p", densities, shares)
        counts = shares * np.einsum("pk,p->k", densities, 1 / mixed) + (0, 0, UNSEEN)
        before, shares = shares, counts / counts.sum()
        if np.abs(shares - before).max() < SETTLED:
            break
    return Shares(float(shares[0]), float(shares[2]))


def chances(sure: Scores, alike: Scores, shares: Shares) -> Scores:
    """Return how likely each pair is a copy, (p,), where candidates are so in ``shares``.

    0 where another picture would be the likelier of both in equal shares: a look that speaks
    against a pair is not outvoted by the many that do not.
    """
    densities = _densities(sure, alike)
    others = 1 - shares.copies - shares.look_alikes
    weighed = densities * [shares.copies, others, shares.look_alikes]
    likely = weighed[:, 0] / weighed.sum(axis=1)
    return np.asarray(np.where(densities[:, 0] < densities[:, 1], 0.0, likely))


def _densities(sure: Scores, alike: Scores) -> Reals:
    """Return how often such a look is of a copy, another picture, a look-alike: (p, 3), up to a
    factor of each.
    """
    found = np.stack([sure, np.maximum(1 - sure - alike, 0), alike], axis=1) / FITTED
    return np.asarray(found)
