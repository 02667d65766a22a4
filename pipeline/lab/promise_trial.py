"""Is the promised recall kept? Calibrate again and again, and measure the true recall each time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from pipeline.cascade.by_category import ALL, recall_by_category
from pipeline.cascade.calibration import (
    Calibration,
    StageFilters,
    draw_samples,
    fit_filters,
    groups,
)
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.planner import CascadePlan, StageCosts, plans_by_recall, thresholds
from pipeline.cascade.stages import LAST, LEARNED
from pipeline.core.arrays import Ids, Mask, Scores, Vectors
from pipeline.core.bounds import lower_bound
from pipeline.core.errors import InputError
from pipeline.core.tables import embedding_matrix
from pipeline.index.ivf import train_ivf

ROWS_AT_ONCE = 512
TRIALS_A_FIT = 10
QUERIES = 2000  # of a trial, at most
LARGE = 0.05  # share of the queries from which a category is told of


@dataclass(frozen=True)
class Trial:
    """One calibration: what was asked, and what its plan gave queries that it had not seen."""

    asked: float
    bound: float  # proved
    given: float  # mean recall of the queries
    below_half: float  # share of the queries with less than half of the recall asked
    complete: float  # share of the queries whose neighbours were all found
    worst: float  # mean recall of the category with the least, of those with LARGE of the queries
    below_bound: int  # the calibration's own categories whose queries got less than was proved
    cnn: float  # share of the collection that the CNN runs on for a query
    milliseconds: float  # expected, an image of the collection
    stages: int  # before the CNN; none: no cascade reached what was asked


@dataclass(frozen=True)
class _Fit:
    """The filters fitted on one sample, and what they make of the whole collection."""

    rows: Ids
    filters: StageFilters
    codes: Mapping[str, Vectors]  # by stage: (n, c)
    asked: Mapping[str, Vectors]  # by stage: (n, c), of the images or their copies as queries


class PromiseTrials:
    """Trials over a collection whose every feature is known.

    features: all features of all images; copies: those of a changed version of each, in their
    order; category int (n,) of each image. Each trial calibrates on a random sample, and asks with
    images that neither this nor the filters have seen; every TRIALS_A_FIT trials the filters are
    fitted anew. The true neighbours are those of brute force over all.
    """

    def __init__(
        self, features: pa.Table, copies: pa.Table, neighbours: Neighbours, k: int, category: Ids
    ) -> None:
        self.features = features
        self.copies = copies
        self.neighbours = neighbours
        self.k = min(k, features.num_rows - 1)
        self.category = category
        self.vectors = embedding_matrix(features["embedding"])
        self.wanted = self._brute_force()

    def run(
        self,
        count: int,
        samples: tuple[int, int],
        recalls: Sequence[float],
        confidence: float,
        costs: StageCosts,
    ) -> Iterator[list[Trial]]:
        """Yield for each of ``count`` calibrations on ``samples`` images a trial of each recall."""
        for seed in range(count):
            fit, sample, rest = draw_rows(self.features.num_rows, samples, seed)
            if seed % TRIALS_A_FIT == 0:
                fitted = self._fit(fit)
            yield self._try(fitted, sample, rest, recalls, confidence, costs)

    def _fit(self, rows: Ids) -> _Fit:
        filters = fit_filters(self.features.take(pa.array(rows)))
        asking = self.features if self.neighbours == "semantic" else self.copies
        codes = {s: filters.codes(s, self.features) for s in LEARNED}
        asked = {s: filters.query_codes(s, asking, self.neighbours) for s in LEARNED}
        return _Fit(rows, filters, codes, asked)

    def _try(
        self,
        fit: _Fit,
        sample: Ids,
        rest: Ids,
        recalls: Sequence[float],
        confidence: float,
        costs: StageCosts,
    ) -> list[Trial]:
        rows = pa.array(sample)
        calibration = Calibration(fit.filters, self.features.take(rows), self.copies.take(rows))
        kinds = calibration.category(self.vectors[rest], self.neighbours)
        one = {stage: values[rest[:1]] for stage, values in fit.asked.items()}
        share = len(sample) / self.features.num_rows
        evidence = calibration.evidence(
            tuple(LEARNED), self.neighbours, self.k, share, one, kinds[:1], costs
        )
        plans = plans_by_recall(evidence, dict.fromkeys(LEARNED), recalls, confidence)
        reached = self._reached(fit, plans, sample, rest, kinds)
        names = [str(n) for n in range(calibration.categories.buckets)]
        trials = []
        for recall, plan, (given, cnn) in zip(recalls, plans, reached, strict=True):
            proved = recall_by_category(evidence, plan, names, kinds, recall, confidence)
            low = categories_below(given, kinds, proved)
            trials.append(_trial(recall, plan, given, cnn, self.category[rest], low))
        return trials

    def _brute_force(self) -> Ids:
        """Return int64 (n, k) rows of each image's true neighbours; for copies (n, 1), itself."""
        vectors, group = self.vectors, groups(self.features)
        if self.neighbours == "copies":
            return np.arange(len(vectors))[:, None]
        parts = []
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            scores = vectors[rows] @ vectors.T
            scores[group[rows][:, None] == group[None, :]] = -np.inf
            parts.append(np.argpartition(-scores, self.k - 1, axis=1)[:, : self.k])
        return np.concatenate(parts)

    def _reached(
        self, fit: _Fit, plans: Sequence[CascadePlan], sample: Ids, rest: Ids, kinds: Ids
    ) -> list[tuple[Scores, float]]:
        """Return for each plan float (q,) the recalls of ``rest``, and the CNN's share of all."""
        recalls: list[list[Scores]] = [[] for _ in plans]
        shares: list[list[Scores]] = [[] for _ in plans]
        for start in range(0, len(rest), ROWS_AT_ONCE):
            rows = rest[start : start + ROWS_AT_ONCE]
            scores = {s: fit.asked[s][rows] @ fit.codes[s].T for s in LEARNED}
            for number, plan in enumerate(plans):
                passed = _passing(plan, scores, sample, kinds[start : start + ROWS_AT_ONCE])
                found = np.take_along_axis(passed, self.wanted[rows], axis=1)
                recalls[number].append(found.mean(axis=1))
                shares[number].append(passed.mean(axis=1))
        return [
            (np.concatenate(mine), float(np.concatenate(share).mean()))
            for mine, share in zip(recalls, shares, strict=True)
        ]


def _trial(
    asked: float, plan: CascadePlan, recalls: Scores, cnn: float, category: Ids, low: int
) -> Trial:
    return Trial(
        asked,
        plan.bound,
        float(recalls.mean()),
        float((recalls < asked / 2).mean()),
        float((recalls == 1).mean()),
        min(category_recalls(recalls, category).values()),
        low,
        cnn,
        plan.milliseconds,
        len(plan.stages),
    )


def draw_rows(images: int, samples: tuple[int, int], seed: int) -> tuple[Ids, Ids, Ids]:
    """Return the rows of ``images`` that a trial fits on, calibrates on, and asks with.

    Raises InputError where the samples leave none to ask with.
    """
    everything = np.arange(images)
    fit, sample = draw_samples(everything, *samples, seed // TRIALS_A_FIT)
    others = np.random.default_rng(seed).permutation(np.setdiff1d(everything, fit))
    sample, rest = others[: len(sample)], others[len(sample) :]
    if not len(rest):
        raise InputError(
            f"samples of {len(fit)} and {len(sample)} leave none of {images} images to ask with; "
            "give smaller --fit-images and --calibration-images, or more photos"
        )
    return fit, sample, rest[:QUERIES]


def _passing(plan: CascadePlan, scores: Mapping[str, Vectors], sample: Ids, kinds: Ids) -> Mask:
    """Return bool (q, n): whether an image passes all of the plan's stages for a query.

    scores: by stage (q, n), among them those of the calibration's images ``sample``; kinds int
    (q,): the category that the calibration puts each query in.
    """
    passed = np.ones_like(next(iter(scores.values())), np.bool_)
    for number, stage in enumerate(plan.stages):
        limits = thresholds(scores[stage][:, sample], plan.keeps(number, kinds))
        passed &= scores[stage] >= limits[:, None]
    return passed


def category_recalls(recalls: Scores, category: Ids) -> dict[int, float]:
    """Return by category the mean of the queries' ``recalls`` (q,), of those with LARGE of them.

    All queries together stand for the categories where none is so large.
    """
    names, counts = np.unique(category, return_counts=True)
    large = names[counts >= LARGE * len(category)].tolist()
    means = {int(name): float(recalls[category == name].mean()) for name in large}
    return means or {-1: float(recalls.mean())}


def categories_below(recalls: Scores, category: Ids, proved: pa.Table) -> int:
    """Return of how many categories the mean of the queries' ``recalls`` (q,) is below the bound.

    category int (q,); proved: as recall_by_category gives it, each named by its number.
    """
    rows = proved.select(["like", "bound"]).to_pylist()
    bounds = {int(row["like"]): row["bound"] for row in rows if row["like"] != ALL}
    given = [(recalls[category == number], bound) for number, bound in bounds.items()]
    return sum(len(mine) and bound is not None and mine.mean() < bound for mine, bound in given)


def clusters(features: pa.Table, count: int) -> Ids:
    """Return int64 (n,): the one of ``count`` k-means cells that each image's embedding is in."""
    vectors = embedding_matrix(features["embedding"])
    return train_ivf(vectors, count, 0).nearest(vectors, 1)[:, 0].astype(np.int64)


def labels(features: pa.Table, column: str) -> Ids:
    """Return int64 (n,): a number for each value of ``column``, -1 for none.

    Raises InputError where there is none, or none of single values.
    """
    if column not in features.column_names:
        raise InputError(
            f"the images have no column {column}; there are: {', '.join(features.column_names)}"
        )
    kind = features.schema.field(column).type
    if pa.types.is_nested(kind):
        raise InputError(f"{column} holds {kind}: name a column of single values")
    codes: Ids = features[column].combine_chunks().dictionary_encode().indices.fill_null(-1)
    return np.asarray(codes, np.int64)


def trial_table(trials: Sequence[Trial]) -> pa.Table:
    """Return a row a trial: the fields of Trial."""
    return pa.Table.from_pylist([asdict(trial) for trial in trials])


def promise_table(trials: pa.Table, costs: StageCosts) -> pa.Table:
    """Return a row a recall asked for: how many trials gave less, what they gave and cost.

    "at most" is the upper bound, at 95 % confidence, of the share of calibrations that give less;
    "speed-up" the CNN on all over the median plan's expected cost, from the measured stage costs;
    "gave up" counts the trials without a plan.
    """
    return pa.Table.from_pylist([_promise_row(*of, costs) for of in _by_asked(trials)])


def spread_table(trials: pa.Table) -> pa.Table:
    """Return a row a recall asked for: how unlike the queries' recalls are, a mean over trials.

    "a bound broken" is the share of the trials in which one of the bounds by category was.
    """
    return pa.Table.from_pylist([_spread_row(*of) for of in _by_asked(trials)])


def _by_asked(trials: pa.Table) -> list[tuple[float, dict[str, Scores]]]:
    found = []
    for asked in dict.fromkeys(trials["asked"].to_pylist()):
        rows = trials.filter(pa.compute.equal(trials["asked"], asked))
        found.append((asked, {name: rows[name].to_numpy() for name in rows.column_names}))
    return found


def _promise_row(
    asked: float, trials: Mapping[str, Scores], costs: StageCosts
) -> dict[str, float | int]:
    given = trials["given"]
    broken, count = int((given < asked).sum()), len(given)
    return {
        "asked": asked,
        "broken": broken,
        "of": count,
        "at most": 1 - lower_bound(count - broken, count, 0.95),
        "given, mean": float(given.mean()),
        "median": float(np.median(given)),
        "least": float(given.min()),
        "overshoot": float(given.mean()) - asked,
        "CNN share": float(trials["cnn"].mean()),
        "speed-up": costs.milliseconds[LAST] / float(np.median(trials["milliseconds"])),
        "gave up": int((trials["stages"] == 0).sum()),
    }


def _spread_row(asked: float, trials: Mapping[str, Scores]) -> dict[str, float]:
    return {
        "asked": asked,
        "below half of it": float(trials["below_half"].mean()),
        "all found": float(trials["complete"].mean()),
        "worst category": float(trials["worst"].mean()),
        "least of any trial": float(trials["worst"].min()),
        "a bound broken": float((trials["below_bound"] > 0).mean()),
    }
