"""Exact bounds on a share from a sample of it (Clopper & Pearson, Biometrika 1934)."""

import numpy as np

from pipeline.core.arrays import Ids, Scores


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
    return float(lower_bounds(np.array([found]), drawn, confidence)[0])


def interval(found: int, drawn: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval that holds the true share with ``confidence``."""
    one_sided = (1 + confidence) / 2
    return (
        lower_bound(found, drawn, one_sided),
        1 - lower_bound(drawn - found, drawn, one_sided),
    )
