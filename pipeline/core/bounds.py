"""Bounds, exact for any sample size, on a share or a mean from a sample of it.

Clopper & Pearson (Biometrika 1934) for shares; for means of numbers from 0 to 1 the bets of
Waudby-Smith & Ramdas (JRSS B 2024), which gain where the numbers vary less than zeros and ones do.
"""

from math import comb

import numpy as np

from pipeline.core.arrays import Ids, Scores

BOLDEST = 0.9  # of the capital on one number: a zero leaves a tenth of it
PRECISION = 1e-5
FEW = 50  # draws, whose bound needs no library: SciPy's takes a third of a second to import


def lower_bounds(found: Ids, drawn: int, confidence: float) -> Scores:
    """Return (n,): for each count what the true share exceeds with ``confidence``.

    found (n,) of ``drawn`` independent draws were successes; the bounds are one-sided.
    """
    # The beta distribution's quantile. Imported here: a search without an index does not wait.
    from scipy.special import betaincinv

    counts = np.maximum(found, 1)
    return np.where(found, betaincinv(counts, drawn - counts + 1, 1 - confidence), 0.0)


def lower_bound(found: int, drawn: int, confidence: float) -> float:
    """Return the one bound of lower_bounds."""
    if drawn <= FEW:
        return _few_lower_bound(found, drawn, 1 - confidence)
    return float(lower_bounds(np.array([found]), drawn, confidence)[0])


def _few_lower_bound(found: int, drawn: int, risk: float) -> float:
    """Return the share at which as many successes as ``found`` have the probability ``risk``."""
    ways = [comb(drawn, count) for count in range(found, drawn + 1)]

    def probability(share: float) -> float:
        return sum(
            times * share**count * (1 - share) ** (drawn - count)
            for count, times in enumerate(ways, found)
        )

    low, high = 0.0, 1.0 if found else 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if probability(middle) < risk else (low, middle)
    return low


def mean_lower_bound(values: Scores, confidence: float, spread: float) -> float:
    """Return what the mean of independent numbers from 0 to 1 exceeds with ``confidence``.

    values, spread as of mean_exceeds; to PRECISION.
    """
    low, high = 0.0, 1.0  # a mean that is beaten, one that is not: the capital falls as it grows
    if not mean_exceeds(values, low, confidence, spread):
        return 0.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        beaten = mean_exceeds(values, middle, confidence, spread)
        low, high = (middle, high) if beaten else (low, middle)
    return low


def mean_exceeds(values: Scores, mean: float, confidence: float, spread: float) -> bool:
    """Return whether the mean of independent numbers from 0 to 1 is larger, with ``confidence``.

    values (n,), in an order fixed before they were seen. Who bets a fraction of the capital on
    each being more than mu has, where mu is their mean, ever 1 / (1 - confidence) times the capital
    with a probability of at most 1 - confidence (Ville's inequality). The fraction suits a standard
    deviation of ``spread``, which must come from elsewhere; a wrong one only proves less. Of no
    numbers none is known.
    """
    if not len(values):
        return False
    wanted = -np.log1p(-confidence)
    fraction = np.sqrt(2 * wanted / (len(values) * max(spread, 1e-9) ** 2))
    capital = np.cumsum(np.log1p(min(fraction, BOLDEST) * (values - mean)))
    return bool(capital.max() >= wanted)


def interval(found: int, drawn: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval that holds the true share with ``confidence``."""
    one_sided = (1 + confidence) / 2
    return (
        lower_bound(found, drawn, one_sided),
        1 - lower_bound(drawn - found, drawn, one_sided),
    )
