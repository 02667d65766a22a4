"""How throughput grows with workers: three laws fitted, judged on counts they have not seen.

A law says how many times faster than one worker ``w`` workers are; its rate at one worker is
fitted too. ``contention`` is the share of the work that waits for its turn, ``coherency`` the
share that every pair of workers spends on each other.

Amdahl (AFIPS 1967); Gustafson (CACM 31:5, 1988); Gunther, Universal Scalability Law (2007);
Karp and Flatt (CACM 33:5, 1990); McSherry, Isard and Murray, "Scalability! But at what COST?"
(HotOS 2015).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from pipeline.core.arrays import AnyArray, Reals


@dataclass(frozen=True)
class Law:
    """``speedup(workers, *parameters)``; each parameter lies in 0..1."""

    speedup: Callable[..., Reals]
    parameters: tuple[str, ...]


def amdahl(workers: AnyArray, contention: float) -> Reals:
    """Return the speed-up of a fixed amount of work."""
    return np.asarray(workers / (1 + contention * (workers - 1)))


def gustafson(workers: AnyArray, contention: float) -> Reals:
    """Return the speed-up of work that grows with the workers."""
    return np.asarray(workers - contention * (workers - 1))


def universal(workers: AnyArray, contention: float, coherency: float) -> Reals:
    """Return the speed-up where workers also wait for each other; it has a peak."""
    waiting = contention * (workers - 1) + coherency * workers * (workers - 1)
    return np.asarray(workers / (1 + waiting))


LAWS = {
    "linear": Law(lambda workers: np.asarray(workers * 1.0), ()),
    "Amdahl": Law(amdahl, ("contention",)),
    "Gustafson": Law(gustafson, ("contention",)),
    "USL": Law(universal, ("contention", "coherency")),
}


@dataclass(frozen=True)
class Fit:
    """A law with the parameters that fit best; ``draws`` are those of the bootstrap."""

    law: str
    rate: float  # images/s of one worker
    parameters: tuple[float, ...]
    draws: Reals  # float64 (draws, 1 + parameters): rate, then parameters

    def predict(self, workers: AnyArray) -> Reals:
        """Return the rate float64 (n,) at each of ``workers`` (n,)."""
        return self.rate * LAWS[self.law].speedup(workers, *self.parameters)

    def band(self, workers: AnyArray, level: float = 0.95) -> tuple[Reals, Reals]:
        """Return the low and high ends (n,) of the bootstrap's interval of ``predict``."""
        rates = [row[0] * LAWS[self.law].speedup(workers, *row[1:]) for row in self.draws]
        return _interval(np.array(rates), level)

    def intervals(self, level: float = 0.95) -> list[tuple[str, float, float, float]]:
        """Return (name, value, low, high) of the rate and of each parameter."""
        low, high = _interval(self.draws, level)
        names = ("rate", *LAWS[self.law].parameters)
        values = (self.rate, *self.parameters)
        return list(zip(names, values, low.tolist(), high.tolist(), strict=True))


def counts_needed(law: str) -> int:
    """Return the fewest worker counts that can tell of ``law``: its parameters and two."""
    return 1 + len(LAWS[law].parameters) + 2


def fit_law(law: str, workers: AnyArray, rates: Reals, draws: int = 200, seed: int = 0) -> Fit:
    """Fit ``law`` to ``rates`` (images/s, (n,)) measured with ``workers`` (n,), a row a repeat.

    Least squares on the logarithm, so that each count weighs by its relative error. The bootstrap
    draws repeats anew within each count. Raises ValueError where a rate is not above zero.
    """
    workers, rates = np.asarray(workers, np.float64), np.asarray(rates, np.float64)
    if not len(rates) or (rates <= 0).any():
        raise ValueError("a law is fitted to rates above zero, at least one")
    rng = np.random.default_rng(seed)
    best = _least_squares(law, workers, rates)
    groups = [np.flatnonzero(workers == count) for count in np.unique(workers)]
    found = []
    fitted: dict[bytes, Reals] = {}  # of few repeats, most draws are alike
    for _ in range(draws):
        rows = np.concatenate([rng.choice(group, len(group)) for group in groups])
        drawn = rows.tobytes()
        if drawn not in fitted:
            fitted[drawn] = _least_squares(law, workers[rows], rates[rows])
        found.append(fitted[drawn])
    kept = np.array(found) if found else np.empty((0, len(best)))
    return Fit(law, float(best[0]), tuple(float(value) for value in best[1:]), kept)


def _least_squares(law: str, workers: AnyArray, rates: Reals) -> Reals:
    speedup, names = LAWS[law].speedup, LAWS[law].parameters
    start = np.array([np.log(np.median(rates / workers)), *[1e-3] * len(names)])

    def residuals(values: Reals) -> Reals:
        growth = np.maximum(speedup(workers, *values[1:]), 1e-12)
        return np.asarray(values[0] + np.log(growth) - np.log(rates))

    bounds = ([-np.inf, *[0.0] * len(names)], [np.inf, *[1.0] * len(names)])
    scale = np.array([1.0, *[1e-2] * len(names)])
    values = least_squares(residuals, start, bounds=bounds, x_scale=scale).x
    return np.concatenate([np.exp(values[:1]), values[1:]])


def _interval(values: Reals, level: float) -> tuple[Reals, Reals]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class HeldOut:
    """The law that predicted best, and how far it is off on counts that chose nothing."""

    law: str
    fitted_to: tuple[int, ...]  # worker counts
    predicted: tuple[int, ...]
    error: float  # the largest relative error of the predicted counts' median rates


def choose_law(workers: AnyArray, rates: Reals, laws: Sequence[str] = tuple(LAWS)) -> HeldOut:
    """Choose a law on the small worker counts and report its error on the large ones.

    The upper third of the counts is only predicted. Of the others, the upper half judges the laws
    fitted to the lower half, those with no more parameters than that has counts; the best is fitted
    to both. Raises ValueError below five counts.
    """
    workers, rates = np.asarray(workers), np.asarray(rates, np.float64)
    counts = np.unique(workers)
    if len(counts) < 5:
        raise ValueError("a held-out choice needs at least five worker counts")
    known, unseen = counts[: -(len(counts) // 3)], counts[-(len(counts) // 3) :]
    lower, upper = known[: (len(known) + 1) // 2], known[(len(known) + 1) // 2 :]
    able = [law for law in laws if 1 + len(LAWS[law].parameters) <= len(lower)]
    errors = {law: prediction_error(law, workers, rates, lower, upper) for law in able}
    best = min(errors, key=lambda law: errors[law])
    error = prediction_error(best, workers, rates, known, unseen)
    return HeldOut(best, tuple(known.tolist()), tuple(unseen.tolist()), error)


def prediction_error(
    law: str, workers: AnyArray, rates: Reals, seen: AnyArray, unseen: AnyArray
) -> float:
    """Return the largest relative error at the ``unseen`` counts of a fit to the ``seen`` ones."""
    rows = np.isin(workers, seen)
    fit = fit_law(law, workers[rows], rates[rows], draws=0)
    measured = np.array([np.median(rates[workers == count]) for count in unseen])
    return float(np.max(np.abs(fit.predict(unseen) / measured - 1)))


def karp_flatt(workers: AnyArray, speedups: Reals) -> Reals:
    """Return the serial fraction (n,) that each speed-up shows; NaN at one worker.

    One that grows with the workers tells of overhead, a constant one of serial work.
    """
    workers, speedups = np.asarray(workers, np.float64), np.asarray(speedups, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((1 / speedups - 1 / workers) / (1 - 1 / workers))


def cost(single_rate: float, workers: AnyArray, rates: Reals) -> int | None:
    """Return the fewest measured workers whose median rate beats one thread's, or None."""
    for count in np.unique(workers):
        if np.median(rates[workers == count]) > single_rate:
            return int(count)
    return None
