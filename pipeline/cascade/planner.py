"""Choosing how much each stage of a cascade keeps, so that a recall is asked for and proved.

A stage keeps the images that score at least as high as the query's ``keep``-th best among the m
images of a calibration sample: about keep / m of any collection the sample was drawn from. The
*rank* of a true neighbour is the least ``keep`` that lets it pass. One half of the calibration
queries orders the settings from dear to cheap; the other tests them in that order, each by an
exact binomial bound on the share of neighbours that pass all stages, and stops at the first that
fails (fixed-sequence testing, Bauer 1991; Learn then Test, Angelopoulos et al. 2021). The error
allowed is split over the cascades tried. One neighbour a query is drawn, so that draws are
independent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product, takewhile

import numpy as np

from pipeline.cascade.stages import LAST
from pipeline.core.arrays import Ids, Mask, Vectors
from pipeline.core.bounds import lower_bound

LEVELS = 24  # of keep, evenly spread on a log scale
PATIENCE = np.linspace(1.0, 0.0, 201)  # planning recalls from which the sequence is drawn


@dataclass(frozen=True)
class StageCosts:
    """Milliseconds an image of each stage but the first, as measured.

    The signatures are there already; the others count reading, decoding and the network.
    """

    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class CascadePlan:
    """The stages before the CNN and how many of the sample's images each keeps.

    No stages: no cascade reached what was asked, so everything is searched and nothing lost.
    """

    stages: tuple[str, ...]
    keep: tuple[int, ...]
    sample: int  # m, images of the calibration sample
    recalls: tuple[float, ...]  # share of the testing half's neighbours left after each stage
    bound: float  # lower bound of it at the confidence asked for
    milliseconds: float  # expected, an image of the collection, one batch of queries
    tested: int  # neighbours of the testing half

    @property
    def recall(self) -> float:
        return self.recalls[-1] if self.recalls else 1.0

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(keep / self.sample for keep in self.keep)


@dataclass(frozen=True)
class Evidence:
    """What a plan is chosen from.

    neighbour_ranks: by stage, int (u,): the keep that each calibration query's neighbour needs.
    query_ranks: by stage, int (q, m): the keep that each sample image needs to pass for each query
    of the batch to be planned for; they tell what a setting will cost.
    """

    neighbour_ranks: Mapping[str, Ids]
    query_ranks: Mapping[str, Ids]
    costs: StageCosts
    sample: int


def ranks_among(queries: Vectors, codes: Vectors) -> Ids:
    """Return int64 (q, m): one plus how many of ``codes`` score higher for each query than each.

    Both are whole numbers in f32, (q, c) and (m, c).
    """
    scores = queries @ codes.T
    ordered = np.sort(scores, axis=1)
    pairs = zip(ordered, scores, strict=True)
    above = [scores.shape[1] - np.searchsorted(row, s, side="right") for row, s in pairs]
    return 1 + np.array(above, np.int64).reshape(scores.shape)


def neighbour_ranks(queries: Vectors, targets: Ids, own: Ids, codes: Vectors) -> Ids:
    """Return int64 (u,): the rank of each query's target row among the others' codes.

    own int (u,) is the query's own row in ``codes``: it does not count, as a query does not.
    """
    scores = queries @ codes.T
    rows = np.arange(len(queries))
    wanted = scores[rows, targets][:, None]
    higher = scores > wanted
    higher[rows, own] = False
    found: Ids = 1 + higher.sum(axis=1)
    return found


def thresholds(queries: Vectors, codes: Vectors, keep: int) -> Vectors:
    """Return f32 (q,): the ``keep``-th highest score of each query among the sample's codes."""
    scores = queries @ codes.T
    return np.partition(scores, scores.shape[1] - keep, axis=1)[:, scores.shape[1] - keep]


def plan_cascade(
    evidence: Evidence,
    stages: Mapping[str, float | None],
    recall: float,
    confidence: float,
) -> CascadePlan:
    """Return the cheapest plan whose recall is at least ``recall`` at ``confidence``.

    stages: those allowed, in order, each with a fixed share to keep or None. Where all are fixed
    there is nothing to choose, and the plan's bound tells what they keep.
    """
    return plans_by_recall(evidence, stages, (recall,), confidence)[0]


def plans_by_recall(
    evidence: Evidence,
    stages: Mapping[str, float | None],
    recalls: Sequence[float],
    confidence: float,
) -> list[CascadePlan]:
    """Return what plan_cascade gives for each of ``recalls``; each keeps its promise by itself."""
    if None not in stages.values():
        [setting] = _settings(evidence, tuple(stages), stages)
        return [_tested(evidence, setting, confidence)] * len(recalls)
    paths = list(_paths(stages))
    allowed = 1 - (1 - confidence) / len(paths)
    proved = [_proved(evidence, path, stages, min(recalls), allowed) for path in paths]
    found = []
    for recall in recalls:
        best = search_everything(evidence)
        for plans in proved:
            reach = _until_below(recall, plans)
            if reach and reach[-1].milliseconds < best.milliseconds:
                best = reach[-1]
        found.append(best)
    return found


def plan_within(
    evidence: Evidence, stages: Mapping[str, float | None], milliseconds: float, confidence: float
) -> CascadePlan:
    """Return the plan of the most recall that costs at most ``milliseconds`` an image.

    The planning half chooses, so the bound from the testing half needs no correction. Where even
    the cheapest setting costs more, that one is returned.
    """
    settings = [s for path in _paths(stages) for s in _settings(evidence, path, stages)]
    affordable = [s for s in settings if s.milliseconds <= milliseconds]
    chosen = max(affordable, key=lambda s: s.recall, default=None)
    chosen = chosen or min(settings, key=lambda s: s.milliseconds)
    return _tested(evidence, chosen, confidence)


def search_everything(evidence: Evidence) -> CascadePlan:
    """Return the plan that runs the CNN on every image."""
    cost = evidence.costs.milliseconds[LAST]
    return CascadePlan((), (), evidence.sample, (), 1.0, cost, 0)


def _paths(stages: Mapping[str, float | None]) -> Iterator[tuple[str, ...]]:
    """Yield the cascades to try: every choice of stages that holds those with a fixed share."""
    fixed = {name for name, keep in stages.items() if keep is not None}
    for size in range(1, len(stages) + 1):
        for path in combinations(stages, size):
            if fixed <= set(path):
                yield path


@dataclass(frozen=True)
class _Setting:
    stages: tuple[str, ...]
    keep: tuple[int, ...]
    milliseconds: float
    recall: float  # on the planning half


def _settings(
    evidence: Evidence, path: tuple[str, ...], stages: Mapping[str, float | None]
) -> list[_Setting]:
    m = evidence.sample
    levels = np.unique(np.geomspace(1, m, LEVELS).round().astype(int))
    choices: list[Iterable[int]] = []
    for name in path:
        share = stages[name]
        choices.append(levels.tolist() if share is None else [max(1, int(np.ceil(share * m)))])
    found = []
    for keep in product(*choices):
        passed = _passing(evidence.neighbour_ranks, path, keep)[::2]
        cost = expected_milliseconds(evidence, path, keep)
        found.append(_Setting(path, keep, cost, float(passed.mean())))
    return found


def expected_milliseconds(evidence: Evidence, path: Sequence[str], keep: Sequence[int]) -> float:
    """Return the milliseconds an image of the collection of one batch of queries.

    A stage makes its features for the images that any query of the batch has passed on.
    """
    costs, shares = evidence.costs.milliseconds, expected_shares(evidence, path, keep)
    return sum(costs[name] * share for name, share in zip((*path, LAST), shares, strict=True))


def expected_shares(
    evidence: Evidence, path: Sequence[str], keep: Sequence[int]
) -> tuple[float, ...]:
    """Return the share of the images that reaches each stage, then the CNN, for any query."""
    alive = np.ones((1, evidence.sample), np.bool_)
    shares = []
    for name, kept in zip(path, keep, strict=True):
        shares.append(float(alive.any(axis=0).mean()))
        alive = alive & (evidence.query_ranks[name] <= kept)
    return (*shares, float(alive.any(axis=0).mean()))


def _proved(
    evidence: Evidence,
    path: tuple[str, ...],
    stages: Mapping[str, float | None],
    recall: float,
    confidence: float,
) -> list[CascadePlan]:
    """Return the plans in the order of testing, up to the first not proved to reach ``recall``."""
    tested = (
        _tested(evidence, s, confidence) for s in _sequence(_settings(evidence, path, stages))
    )
    return _until_below(recall, tested)


def _until_below(recall: float, plans: Iterable[CascadePlan]) -> list[CascadePlan]:
    return list(takewhile(lambda plan: plan.bound >= recall, plans))


def _sequence(settings: list[_Setting]) -> Iterator[_Setting]:
    """Yield, for planning recalls from 1 down, the cheapest setting with at least that recall."""
    last = None
    for wanted in PATIENCE:
        reach = [s for s in settings if s.recall >= wanted]
        cheapest = min(reach, key=lambda s: s.milliseconds, default=None)
        if cheapest and cheapest != last:
            yield cheapest
            last = cheapest


def _tested(evidence: Evidence, setting: _Setting, confidence: float) -> CascadePlan:
    stages, keep = setting.stages, setting.keep
    left = [
        _passing(evidence.neighbour_ranks, stages[:n], keep[:n])[1::2]
        for n in range(1, len(stages) + 1)
    ]
    passed = left[-1]
    bound = lower_bound(int(passed.sum()), len(passed), confidence)
    return CascadePlan(
        stages,
        keep,
        evidence.sample,
        tuple(float(part.mean()) for part in left),
        bound,
        setting.milliseconds,
        len(passed),
    )


def _passing(ranks: Mapping[str, Ids], stages: Sequence[str], keep: Sequence[int]) -> Mask:
    passed = np.ones(len(next(iter(ranks.values()))), np.bool_)
    for name, kept in zip(stages, keep, strict=True):
        passed &= ranks[name] <= kept
    return passed
