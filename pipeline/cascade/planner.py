"""Choosing how much each stage of a cascade keeps, so that a recall is asked for and proved.

A stage keeps the images that score at least as high as the query's ``keep``-th best among the m
images of a calibration sample: about keep / m of any collection the sample was drawn from. The
*rank* of a true neighbour is the least ``keep`` that lets it pass. Three tenths of the calibration
queries order the settings of all cascades from dear to cheap; the others test them in that order,
each by a lower bound on the mean share of a query's neighbours that pass all stages, and stop at
the first that fails. The order is one and fixed before the tests, so the error allowed is split
over nothing (fixed-sequence testing, Bauer 1991; Learn then Test, Angelopoulos et al. 2021).

Queries of a hard category keep more: their ranks come narrowed by the category's width.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product, takewhile

import numpy as np

from pipeline.cascade.stages import LAST
from pipeline.core.arrays import Ids, Mask, Scores, Vectors
from pipeline.core.bounds import lower_bound, mean_lower_bound

PREFIXES = 100  # settings tried of the stages before the last, log-spaced; of the last one all
WIDER = 32  # settings between all images and the dearest that the planning queries order
LEVELS = (0.75, 0.8, 0.85, 0.9, 0.95)  # of recall, by which categories are told apart
FEW = 3  # planning queries of a category that count as much as its being like the others
PLANNING, OF = 3, 10  # of so many queries those that plan; the others test


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
    recalls: tuple[float, ...]  # mean share of a testing query's neighbours left after each stage
    bound: float  # lower bound of it at the confidence asked for
    milliseconds: float  # expected, an image of the collection, one batch of queries
    tested: int  # queries
    widths: tuple[tuple[float, ...], ...] = ()  # by stage, of each category of queries

    @property
    def recall(self) -> float:
        return self.recalls[-1] if self.recalls else 1.0

    def keeps(self, stage: int, category: Ids) -> Ids:
        """Return int (q,): how many of the sample's images the ``stage``-th keeps for each query.

        category int (q,): of each query, as the calibration tells it.
        """
        return widened(self.keep[stage], np.array(self.widths[stage]), self.sample)[category]

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(keep / self.sample for keep in self.keep)


@dataclass(frozen=True)
class Evidence:
    """What a plan is chosen from.

    neighbour_ranks: by stage, int (u, j): the keep that each calibration query's neighbours need.
    weights: float (j,), of sum 1: what each neighbour counts; a recall is a mean by them.
    category: int (u,) of each calibration query.
    drawn: one neighbour stands for several, so no single query's recall is known.
    query_ranks: by stage, int (q, m): the keep that each sample image needs to pass for each query
    of the batch to be planned for; they tell what a setting will cost.
    """

    neighbour_ranks: Mapping[str, Ids]
    weights: Scores
    query_ranks: Mapping[str, Ids]
    costs: StageCosts
    sample: int
    widths: Mapping[str, Scores] = field(default_factory=dict)  # by stage (g,); none: one of 1.0
    category: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    drawn: bool = False


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
    """Return int64 (u, j): the ranks of each query's target rows among the others' codes.

    targets int (u, j); own int (u,) is the query's own row in ``codes``: it does not count, as a
    query does not.
    """
    scores = queries @ codes.T
    wanted = np.take_along_axis(scores, targets, axis=1)
    mine = np.take_along_axis(scores, own[:, None], axis=1)
    ordered = np.sort(scores, axis=1)
    pairs = zip(ordered, wanted, strict=True)
    higher = [scores.shape[1] - np.searchsorted(row, w, side="right") for row, w in pairs]
    found: Ids = 1 + np.array(higher, np.int64).reshape(targets.shape) - (mine > wanted)
    return found


def least_kept(share: float, sample: int) -> int:
    """Return how many of the ``sample`` are at least a ``share`` of it: one or more."""
    return max(1, int(np.ceil(round(share * sample, 6))))  # 0.07 * 100 is more than 7


def thresholds(scores: Vectors, keep: Ids) -> Vectors:
    """Return f32 (q,): the ``keep``-th (q,) highest score of each query of those (q, m) given."""
    places = scores.shape[1] - keep[:, None]
    return np.take_along_axis(np.sort(scores, axis=1), places, axis=1)[:, 0]


def widened(keep: Ids | int, widths: Scores | float, sample: int) -> Ids:
    """Return what is kept of the ``sample`` where ``keep`` is, with odds ``widths`` times those.

    At least one; all where all are: the more is kept, the less a width changes.
    """
    odds = np.asarray(keep * widths, np.float64)
    wide = np.floor(sample * odds / np.maximum(odds + sample - keep, 1e-9))
    kept: Ids = np.where(keep == sample, sample, np.clip(wide, 1, sample)).astype(np.int64)
    return kept


def narrowed(ranks: Ids, widths: Scores, sample: int) -> Ids:
    """Return ranks (q, j) such that one is at most keep where the rank is at most keep widened.

    widths float (q,).
    """
    found, every = np.empty_like(ranks), np.arange(1, sample + 1)
    for width in np.unique(widths):
        mine, kept = widths == width, np.maximum.accumulate(widened(every, width, sample))
        found[mine] = 1 + np.searchsorted(kept, ranks[mine])
    return found


def category_widths(ranks: Ids, weights: Scores, category: Ids, count: int, sample: int) -> Scores:
    """Return float (count,): by how much the odds to be kept exceed those of all, by category.

    That is by the planning queries' ranks (u, j), ``category`` int (u,) of each: the mean over
    LEVELS of recall of the ratio of the odds of the least keep that reaches it. It is shrunk
    towards 1 where they are few.
    """
    widths = np.ones(count)
    overall = _least_odds(ranks, weights, sample)
    for number in np.unique(category):
        mine = ranks[category == number]
        ratio = np.log(_least_odds(mine, weights, sample) / overall).mean()
        widths[number] = np.exp(ratio * len(mine) / (len(mine) + FEW))
    return widths


def _least_odds(ranks: Ids, weights: Scores, sample: int) -> Scores:
    every = np.broadcast_to(weights, ranks.shape).ravel()
    keep = np.quantile(ranks.ravel(), LEVELS, method="inverted_cdf", weights=every)
    found: Scores = (keep - 0.5) / (sample - keep + 0.5)
    return found


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
        [setting] = _frontier(evidence, stages)
        return [_tested(evidence, setting, confidence)] * len(recalls)
    everything = search_everything(evidence)
    tested = (_tested(evidence, s, confidence) for s in _sequence(evidence, stages))
    proved = _until_below(min(recalls), tested)
    found = []
    for recall in recalls:
        reach = [everything, *_until_below(recall, proved)]
        found.append(min(reach, key=lambda plan: plan.milliseconds))
    return found


def plan_within(
    evidence: Evidence, stages: Mapping[str, float | None], milliseconds: float, confidence: float
) -> CascadePlan:
    """Return the plan of the most recall that costs at most ``milliseconds`` an image.

    The planning queries choose, so the bound from the others needs no correction. Where even
    the cheapest setting costs more, that one is returned.
    """
    sequence = _frontier(evidence, stages)
    affordable = [s for s in sequence if s.milliseconds <= milliseconds]
    return _tested(evidence, (affordable or sequence[-1:])[0], confidence)


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
    recall: float  # of the planning queries


def _frontier(evidence: Evidence, stages: Mapping[str, float | None]) -> list[_Setting]:
    """Return the settings than which none that costs less has as much planning recall, dear first.

    Where all stages have a fixed share there is one.
    """
    paths = _paths(stages) if None in stages.values() else [tuple(stages)]
    found = [setting for path in paths for setting in _of_path(evidence, path, stages)]
    costs = np.array([setting.milliseconds for setting in found])
    recalls = np.array([setting.recall for setting in found])
    return [found[row] for row in _undominated(costs, recalls).tolist()]


def _undominated(costs: Scores, recalls: Scores) -> Ids:
    """Return the rows, dear first, than which none that costs less has as much recall."""
    order = np.lexsort((-recalls, costs))
    highest = np.maximum.accumulate(recalls[order])
    return order[np.diff(highest, prepend=-1.0) > 0][::-1]


def _sequence(evidence: Evidence, stages: Mapping[str, float | None]) -> list[_Setting]:
    """Return the settings to test: the undominated ones, and above them wider ones, dear first.

    What all planning queries find with the dearest a few others may not.
    """
    undominated, m = _frontier(evidence, stages), evidence.sample
    path, least = undominated[0].stages, undominated[0].keep
    wider = []
    for part in np.linspace(1, 0, WIDER, endpoint=False):
        grown = zip(path, least, strict=True)
        keep = tuple(
            round(kept * (m / kept) ** part) if stages[name] is None else kept
            for name, kept in grown
        )
        cost = expected_milliseconds(evidence, path, keep)
        wider.append(_Setting(path, keep, cost, undominated[0].recall))
    return wider + undominated


def _of_path(
    evidence: Evidence, path: tuple[str, ...], stages: Mapping[str, float | None]
) -> list[_Setting]:
    """Return the undominated settings of ``path``.

    Some keeps are tried of all stages but the last, of that one every keep.
    """
    m, share = evidence.sample, stages[path[-1]]
    choices = [_levels(stages[name], m, len(path) - 1) for name in path[:-1]]
    before = list(product(*choices))
    keeps = np.arange(1, m + 1) if share is None else np.array(_levels(share, m, 1))
    costs = np.stack([_costs_by_keep(evidence, path, of)[keeps - 1] for of in before])
    recalls = np.stack([_recalls_by_keep(evidence, path, of)[keeps - 1] for of in before])
    rows = _undominated(costs.ravel(), recalls.ravel())
    return [
        _Setting(
            path,
            (*before[row // len(keeps)], int(keeps[row % len(keeps)])),
            float(costs.flat[row]),
            float(recalls.flat[row]),
        )
        for row in rows.tolist()
    ]


def _levels(share: float | None, m: int, free: int) -> list[int]:
    if share is not None:
        return [least_kept(share, m)]
    count = max(2, round(PREFIXES ** (1 / free)))
    found: list[int] = np.unique(np.geomspace(1, m, count).round().astype(int)).tolist()
    return found


def _recalls_by_keep(evidence: Evidence, path: Sequence[str], before: Sequence[int]) -> Scores:
    """Return float (m,): the planning queries' recall where the last stage keeps 1, 2, ... m."""
    *earlier, last = path
    passed = _passing(evidence.neighbour_ranks, earlier, before, evidence.weights)
    plan = of_planning(len(passed))
    passed, ranks = passed[plan], evidence.neighbour_ranks[last][plan]
    counted = np.bincount(ranks.ravel(), passed.ravel(), minlength=evidence.sample + 1)
    found: Scores = np.cumsum(counted)[1:] / len(ranks)
    return found


def _costs_by_keep(evidence: Evidence, path: Sequence[str], before: Sequence[int]) -> Scores:
    """Return float (m,): expected_milliseconds where the last stage keeps 1, 2, ... m."""
    *earlier, last = path
    shares, alive = _shares(evidence, earlier, before)
    costs = evidence.costs.milliseconds
    spent = sum(costs[name] * share for name, share in zip(path, shares, strict=True))
    never = evidence.sample + 1
    ranks = np.where(alive, evidence.query_ranks[last], never).min(axis=0)  # for any query
    reach = np.cumsum(np.bincount(ranks, minlength=never))[1:never] / evidence.sample
    found: Scores = spent + costs[LAST] * reach
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
    return _shares(evidence, path, keep)[0]


def _shares(
    evidence: Evidence, path: Sequence[str], keep: Sequence[int]
) -> tuple[tuple[float, ...], Mask]:
    """Return expected_shares, and bool (q, m) or (1, m): which images pass all of ``path``."""
    alive = np.ones((1, evidence.sample), np.bool_)
    shares = []
    for name, kept in zip(path, keep, strict=True):
        shares.append(float(alive.any(axis=0).mean()))
        alive = alive & (evidence.query_ranks[name] <= kept)
    return (*shares, float(alive.any(axis=0).mean())), alive


def _until_below(recall: float, plans: Iterable[CascadePlan]) -> list[CascadePlan]:
    return list(takewhile(lambda plan: plan.bound >= recall, plans))


def of_planning(queries: int) -> Mask:
    """Return bool (queries,): which of the calibration queries plan; the others test."""
    plan: Mask = np.arange(queries) % OF < PLANNING
    return plan


def recalls_of(evidence: Evidence, stages: Sequence[str], keep: Sequence[int]) -> Scores:
    """Return float (u,): the share of each calibration query's neighbours that pass."""
    passed = _passing(evidence.neighbour_ranks, stages, keep, evidence.weights)
    recalls: Scores = passed.sum(axis=1)
    return recalls


def proved_recall(evidence: Evidence, recalls: Scores, some: Mask, confidence: float) -> float:
    """Return the lower bound of the mean recall of queries like ``some`` bool (u,) of all.

    recalls (u,): of all, as recalls_of gives them.
    """
    test = ~of_planning(len(recalls))
    values = recalls[some & test]
    if len(evidence.weights) == 1:
        return lower_bound(int(values.sum()), len(values), confidence)
    return mean_lower_bound(values, confidence, float(recalls[~test].std()))


def _tested(evidence: Evidence, setting: _Setting, confidence: float) -> CascadePlan:
    stages, keep = setting.stages, setting.keep
    left = [recalls_of(evidence, stages[:n], keep[:n]) for n in range(1, len(stages) + 1)]
    every, test = np.ones(len(left[-1]), np.bool_), ~of_planning(len(left[-1]))
    return CascadePlan(
        stages,
        keep,
        evidence.sample,
        tuple(float(part[test].mean()) for part in left),
        proved_recall(evidence, left[-1], every, confidence),
        setting.milliseconds,
        int(test.sum()),
        tuple(tuple(evidence.widths.get(stage, np.ones(1)).tolist()) for stage in stages),
    )


def _passing(
    ranks: Mapping[str, Ids], stages: Sequence[str], keep: Sequence[int], weights: Scores
) -> Scores:
    """Return float (u, j): the weight of each neighbour that passes ``stages``, 0 of others."""
    shape = next(iter(ranks.values())).shape
    passed = np.ones(shape, np.bool_)
    for name, kept in zip(stages, keep, strict=True):
        passed &= ranks[name] <= kept
    return passed * weights
