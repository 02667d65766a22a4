"""What a user's verdicts on pairs drawn at random prove of all that are kept.

A precision that is expected holds for pictures like those the look was fitted to. Verdicts hold for
the collection itself, whatever is in it, as long as chance alone chose what was judged.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Ids
from pipeline.dedup.identical_sets import SetPairs
from pipeline.dedup.looked import rows_of_pairs

DRAWN = 100
SAME = ("same bytes", "same pixels")  # which need no verdict
MIXED = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)  # odd numbers, of SplitMix64 (Steele, 2014)


@dataclass(frozen=True)
class Judged:
    """What is judged of the pairs that were drawn, and the precision that it proves."""

    drawn: int
    judged: int
    right: int
    precision: float  # of all kept pairs, at least; nothing is proven before all drawn are judged
    confidence: float


def drawn_pairs(looks: pa.Table) -> pa.Table:
    """Return DRAWN of LOOKS, fewer where there are, as chance says: by numbers mixed of their ids.

    Alike of the sure and the unsure: strata would need a bound each, and together prove less.
    Those of the same bytes or pixels are not among them. A pair stays drawn as long as no more
    than DRAWN come before it, so verdicts hold while a collection stays what it is.
    """
    others = _others(looks)
    order = np.argsort(_mixed(others["a"].to_numpy(), others["b"].to_numpy()), kind="stable")
    return others.take(pa.array(order[:DRAWN]))


def _others(looks: pa.Table) -> pa.Table:
    return looks.filter(pc.invert(pc.is_in(looks["why"], value_set=pa.array(SAME))))


def _mixed(a: Ids, b: Ids) -> Ids:
    number = a.astype(np.uint64) * np.uint64(MIXED[0]) + b.astype(np.uint64)
    for shift in (30, 27):
        number = (number ^ (number >> np.uint64(shift))) * np.uint64(MIXED[1])
    return np.asarray(number ^ (number >> np.uint64(31)))


def verdicts_on(pairs: pa.Table, verdicts: pa.Table, sets: SetPairs) -> pa.Table:
    """Return bool (p,): what VERDICTS say of ``pairs`` (a, b), null where nothing is said.

    A verdict on any two images counts for those that stand for their sets.
    """
    ends = [sets.stand_ins(verdicts[name].to_numpy())[0] for name in ("a", "b")]
    judged = pa.table({"a": np.minimum(*ends), "b": np.maximum(*ends)})
    rows = rows_of_pairs(judged, pairs["a"].to_numpy(), pairs["b"].to_numpy())
    return verdicts["duplicate"].take(pa.array(rows, mask=rows < 0))


def judged_precision(
    looks: pa.Table, verdicts: pa.Table, sets: SetPairs, confidence: float
) -> Judged:
    """Return the precision of the pairs kept, LOOKS, that ``verdicts`` prove at ``confidence``.

    By the hypergeometric distribution: of the pairs of which some were drawn, so few are right that
    as many right ones among the drawn would be rarer than confidence allows (Clopper and Pearson's
    bound, 1934, of a finite number).
    """
    drawn = drawn_pairs(looks)
    said = verdicts_on(drawn, verdicts, sets)
    judged, right = len(said) - said.null_count, pc.sum(said).as_py() or 0
    others, least = _others(looks).num_rows, 0
    if judged == drawn.num_rows:
        least = least_right(others, judged, right, confidence)
    proven = (looks.num_rows - others + least) / max(1, looks.num_rows)
    return Judged(drawn.num_rows, judged, right, proven, confidence)


def least_right(pairs: int, judged: int, right: int, confidence: float) -> int:
    """Return how many of ``pairs`` are right at least, of which ``right`` of ``judged`` are."""
    from scipy.stats import hypergeom  # here: only where all that was drawn is judged

    known = range(right, pairs - (judged - right) + 1)

    def chance(some: int) -> float:
        return float(hypergeom.sf(right - 1, pairs, some, judged))

    return known[bisect_left(known, 1 - confidence, key=chance)]
