"""A lower bound on a share from a sample of it (Clopper & Pearson, Biometrika 1934)."""

from scipy.stats import beta


def lower_bound(found: int, drawn: int, confidence: float) -> float:
    """Return the share that the true one exceeds with ``confidence``, one-sided and exact.

    ``found`` of ``drawn`` independent draws were successes.
    """
    return float(beta.ppf(1 - confidence, found, drawn - found + 1)) if found else 0.0
