"""From which sureness on pairs are kept, so that the precision or recall asked for is expected.

A look tells how sure it is for copies as many as others. How many of a collection's candidates are
copies is estimated from the looks themselves, by expectation and maximisation (Saerens, Latinne and
Decaestecker, Adjusting the Outputs of a Classifier to New a Priori Probabilities, 2002).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from pipeline.core.arrays import Scores

ROUNDS = 200
LEAST = 0.5  # sureness below which no pair is kept, however many of the candidates are copies
ENDS = 1e-9  # of a sureness, so that its odds are finite


@dataclass(frozen=True)
class Kept:
    """What keeping pairs from ``least`` on is expected to give among the candidates."""

    least: float  # sureness, 0 to 1
    precision: float
    recall: float
    copies: float  # share of the candidates that are expected to be copies


def keep(sure: Scores, precision: float | None, recall: float | None, confidence: float) -> Kept:
    """Return the least sureness that gives what is asked, of ``sure`` (p,).

    Of a precision the lowest one that gives it with ``confidence``, so that most pairs are kept: as
    many are wrong as of a Poisson number whose mean is the sum of each one's chance. Of a recall
    alone, or where both cannot be had, the highest one that is expected to reach it.
    """
    share = copies_among(sure)
    likely = _shifted(np.sort(sure)[::-1], share)
    count = np.arange(1, len(likely) + 1)
    precisions = np.cumsum(likely) / count
    recalls = np.cumsum(likely) / max(likely.sum(), ENDS)
    kept = 0
    if precision is not None:
        wrong = poisson.ppf(confidence, np.cumsum(1 - likely))
        kept = int(np.flatnonzero(wrong <= (1 - precision) * count).max(initial=-1)) + 1
    if recall is not None:
        kept = max(kept, int(np.searchsorted(recalls, recall)) + 1)
    kept = min(kept, int((sure >= LEAST).sum()))
    if not kept:
        return Kept(1.0, 1.0, 0.0, share)
    least = float(np.sort(sure)[::-1][kept - 1])
    return Kept(least, float(precisions[kept - 1]), float(recalls[kept - 1]), share)


def copies_among(sure: Scores) -> float:
    """Return the share of copies among pairs that are ``sure`` (p,) to be copies."""
    share = 0.5
    for _ in range(ROUNDS if len(sure) else 0):
        share = float(_shifted(sure, share).mean())
    return share


def _shifted(sure: Scores, share: float) -> Scores:
    odds = np.clip(sure, ENDS, 1 - ENDS)
    odds = odds / (1 - odds) * (share / max(1 - share, ENDS))
    shifted: Scores = odds / (1 + odds)
    return shifted
