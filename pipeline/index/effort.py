"""How far a search by index goes for a query: further for a hard one, for a proved recall.

Queries are told apart by fifths of difficulty, and each fifth has a level of its own at which it
stops. Three tenths of the queries that choose order the settings of all fifths, from much work to
little; the others test them in that order, by a lower bound on their mean recall and by each
fifth's recall, and stop at the first that fails (fixed-sequence testing, as in Angelopoulos et al.:
Learn then Test, 2021).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Ids, Mask, Scores
from pipeline.core.bounds import mean_lower_bound
from pipeline.index.evidence import FIFTHS, Evidence, Levels, Trials, of_planning
from pipeline.index.gains import Gains
from pipeline.index.probes import WorkRecall

TARGETS = 1 - np.geomspace(0.0005, 0.3, 40)  # recalls of the planning queries, a setting for each


@dataclass(frozen=True)
class Effort:
    """Where queries stop, by their difficulty, and what they take on average."""

    gains: Gains
    edges: Scores  # (4,): the difficulties that part the fifths
    chosen: Ids  # (5,): the level at which each fifth stops
    levels: Scores  # (5,): what is expected there, log of the neighbours a byte
    most: Ids  # (5,): candidates of a query, at most
    probes: int  # mean, as of the candidates
    candidates: int
    bytes_read: float

    def of(self, difficulty: Scores) -> tuple[Scores, Ids]:
        """Return (q,) and (q,): ``levels`` and ``most`` of queries of ``difficulty`` (q,)."""
        fifth = np.searchsorted(self.edges, difficulty)
        return self.levels[fifth], self.most[fifth]

    def read(self, buckets: int, images: int, dimensions: int) -> float:
        """Return the bytes a query reads, on average."""
        return self.bytes_read


def choose_effort(
    groups: Sequence[Evidence], levels: Levels, gains: Gains, recall: float, confidence: float
) -> Effort | None:
    """Return the least effort that is proved to give all groups of queries ``recall``, or none.

    By the recall itself for images added since, where they are too few to prove it.
    """
    trials = groups[0].trials
    if trials is None:
        return None
    edges = np.quantile(trials.difficulty, np.arange(1, FIFTHS) / FIFTHS).round(6)
    chosen = None
    for setting in _settings(groups[0], edges):
        if not all(_enough(group, edges, setting, recall, confidence) for group in groups):
            break
        chosen = setting
    return None if chosen is None else _effort(trials, levels, gains, edges, chosen)


def _effort(trials: Trials, levels: Levels, gains: Gains, edges: Scores, chosen: Ids) -> Effort:
    mine = chosen[np.searchsorted(edges, trials.difficulty)][:, None]
    probed, taken, read = (
        float(np.take_along_axis(values, mine, axis=1).mean())
        for values in (trials.probed, trials.taken, trials.bytes_read)
    )
    at = (edges, chosen, levels.gains[chosen], levels.most[chosen])
    return Effort(gains, *at, round(probed), round(taken), read)


def effort_recall(evidence: Evidence, effort: Effort, confidence: float) -> WorkRecall:
    """Return the recall of ``effort`` on queries that did not choose it, with a bound on its mean.

    Also that of each fifth by difficulty, the easiest first.
    """
    values, fifth = _recalls(evidence, effort.edges, effort.chosen)
    low = _low(values, confidence, values)
    parts = [values[fifth == number] for number in range(FIFTHS)]
    fifths = tuple(_mean(part) for part in parts) if all(map(len, parts)) else ()
    recall = _mean(values)
    return WorkRecall(recall, min(low, recall), confidence, len(values), evidence.added, fifths)


def _recalls(
    evidence: Evidence, edges: Scores, setting: Ids, some: Mask | None = None
) -> tuple[Scores, Ids]:
    """Return (u,) and (u,): the share of its neighbours that each query found, and its fifth.

    setting int (5,): the level of each fifth; some (q,): of those queries; those without any
    neighbour are left out.
    """
    trials = evidence.trials
    if trials is None:
        return np.empty(0), np.empty(0, np.int64)
    there, fifth = evidence.places >= 0, np.searchsorted(edges, trials.difficulty)
    found = (trials.marks >> setting[fifth][:, None] & 1).astype(np.bool_) & there
    mine = there.any(axis=1) if some is None else there.any(axis=1) & some
    shares: Scores = found[mine].sum(axis=1) / there[mine].sum(axis=1)
    return shares, fifth[mine]


def _settings(evidence: Evidence, edges: Scores) -> Iterator[Ids]:
    """Yield int (5,) for each of TARGETS: each fifth's first level from which on it is reached.

    Levels are numbered from little work to much; the last stands where none reaches it.
    """
    levels = evidence.trials.probed.shape[1] if evidence.trials else 0
    planning = of_planning(len(evidence.nearest))
    means = np.ones((FIFTHS, levels))
    for level in range(levels):
        values, fifth = _recalls(evidence, edges, np.full(FIFTHS, level), planning)
        means[:, level] = [_mean(values[fifth == number]) for number in range(FIFTHS)]
    for target in TARGETS:
        reached = np.cumprod(means[:, ::-1] >= target, axis=1).sum(axis=1)
        yield np.minimum(levels - reached, levels - 1)


def _enough(group: Evidence, edges: Scores, setting: Ids, recall: float, confidence: float) -> bool:
    planning = of_planning(len(group.nearest)) & (not group.added)
    values, fifth = _recalls(group, edges, setting, ~planning)
    ones = np.ones(len(values))
    if group.added and _low(ones, confidence, ones) < recall:
        return _mean(values) >= recall
    planned, _ = _recalls(group, edges, setting, planning)
    means = [_mean(values[fifth == number]) for number in range(FIFTHS)]
    return min(means) >= recall <= _low(values, confidence, planned)


def _low(values: Scores, confidence: float, alike: Scores) -> float:
    """Return mean_lower_bound of ``values``, which vary about as ``alike`` do; of none 0.

    They come in the order of the images, where those of one kind may stand together: first ones
    that are easy would be taken for all.
    """
    if not len(values):
        return 0.0
    shuffled = np.random.default_rng(0).permutation(values)
    return mean_lower_bound(shuffled, confidence, float(alike.std()) if len(alike) else 0.0)


def _mean(values: Scores) -> float:
    return float(values.mean()) if len(values) else 1.0
