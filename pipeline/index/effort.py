"""How far a search by index goes for a query: further for a hard one, for a proved recall.

Queries are told apart by fifths of difficulty, and each fifth has a level of its own at which it
stops. Three tenths of the queries that choose order the settings of all fifths, from much work to
little; the others test them in that order, by a lower bound on their mean recall, and stop at the
first that fails (fixed-sequence testing, as in Angelopoulos et al.: Learn then Test, 2021). Then
fifths that have less than the recall are raised: more work finds what less work found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Ids, Mask, Scores
from pipeline.core.bounds import mean_exceeds, mean_lower_bound
from pipeline.index.evidence import FIFTHS, Evidence, Levels, Trials, of_planning
from pipeline.index.gains import Gains
from pipeline.index.probes import WorkRecall

PRICES = np.geomspace(1e-4, 300, 80)  # of the most bytes read, in shares of the neighbours


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
    found = [_Found.of(group, edges) for group in groups]
    proved = None
    for setting in _settings(found[0]):
        if not all(_proved(group, setting, recall, confidence) for group in found):
            break
        proved = setting
    if proved is None:
        return None
    chosen = np.max([_raised(group, proved, recall, confidence) for group in found], axis=0)
    if (chosen == len(levels.gains)).any():
        return None
    if not all(_proved(group, chosen, recall, confidence) for group in found):
        return None  # where candidates are capped, more buckets can push some out
    return _effort(trials, levels, gains, edges, chosen)


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
    found = _Found.of(evidence, effort.edges)
    values = found.at(effort.chosen)
    low = _low(values, confidence)
    parts = [values[found.fifth == number] for number in range(FIFTHS)]
    fifths = tuple(map(_mean, parts)) if all(map(len, parts)) else ()
    recall = _mean(values)
    return WorkRecall(recall, min(low, recall), confidence, len(values), evidence.added, fifths)


@dataclass(frozen=True)
class _Found:
    """What the sampled queries that have neighbours found of them at each level."""

    shares: Scores  # (u, l)
    read: Scores  # (u, l) bytes
    fifth: Ids  # (u,) of their difficulties
    planning: Mask  # (u,)
    added: bool  # as of Evidence

    @classmethod
    def of(cls, evidence: Evidence, edges: Scores) -> "_Found":
        """Return the shares of ``evidence``; without trials there are none."""
        trials = evidence.trials
        if trials is None:
            nothing = np.empty((0, 1))
            return cls(nothing, nothing, np.empty(0, np.int64), np.empty(0, np.bool_), False)
        there = evidence.places >= 0
        mine, levels = there.any(axis=1), np.arange(trials.probed.shape[1])
        marks = (trials.marks[mine, :, None] >> levels & 1) & there[mine, :, None]
        shares = marks.sum(axis=1) / there[mine].sum(axis=1, keepdims=True)
        none = np.zeros(len(there), np.bool_)
        planning = none if evidence.added else of_planning(len(there))
        fifth = np.searchsorted(edges, trials.difficulty[mine])
        return cls(shares, trials.bytes_read[mine], fifth, planning[mine], evidence.added)

    def at(self, setting: Ids) -> Scores:
        """Return (u,): what each found where the fifths stop at the levels ``setting`` (5,)."""
        return self.shares[np.arange(len(self.fifth)), setting[self.fifth]]


def _settings(found: _Found) -> Iterator[Ids]:
    """Yield int (5,) for each of PRICES: the level of each fifth at which it loses the least.

    That is what its planning queries miss, and what they read at that price. The same setting
    comes once.
    """
    if not found.planning.any():
        return
    fifths = [found.planning & (found.fifth == number) for number in range(FIFTHS)]
    there = [mine if mine.any() else found.planning for mine in fifths]
    missed = np.array([1 - found.shares[mine].mean(axis=0) for mine in there])
    read = np.array([found.read[mine].mean(axis=0) for mine in there])
    before = None
    for price in PRICES:
        setting: Ids = (missed + price * read / read.max()).argmin(axis=1)
        if before is None or (setting != before).any():
            yield setting
        before = setting


def _proved(found: _Found, setting: Ids, recall: float, confidence: float) -> bool:
    """Return whether the queries that test prove ``recall``, or have it and are too few to."""
    values, tests = found.at(setting), ~found.planning
    tested, planned = _shuffled(values[tests]), values[found.planning]
    if _few(found, recall, confidence):
        return _mean(tested) >= recall
    spread = float(planned.std()) if len(planned) else 0.0
    return mean_exceeds(tested, recall, confidence, spread)


def _raised(found: _Found, proved: Ids, recall: float, confidence: float) -> Ids:
    """Return (5,): the first level of each fifth, not below ``proved``, that gives it ``recall``.

    By a standard error more, since the least that would do is looked for. The number of levels
    where none does.
    """
    if _few(found, recall, confidence):
        return proved
    levels = found.shares.shape[1]
    raised: Ids = proved.copy()
    for number in np.unique(found.fifth):
        part = found.shares[found.fifth == number]
        low = part.mean(axis=0) - part.std(axis=0) / np.sqrt(len(part))
        enough = np.cumprod(low[::-1] >= recall).sum()
        raised[number] = max(proved[number], levels - enough)
    return raised


def _few(found: _Found, recall: float, confidence: float) -> bool:
    """Return whether these are images added since, too few to prove ``recall`` though all found."""
    tests = int((~found.planning).sum())
    return found.added and not mean_exceeds(np.ones(tests), recall, confidence, 0.0)


def _low(values: Scores, confidence: float) -> float:
    """Return mean_lower_bound of ``values``, of none 0."""
    spread = float(values.std()) if len(values) else 0.0
    return mean_lower_bound(_shuffled(values), confidence, spread)


def _shuffled(values: Scores) -> Scores:
    """Return ``values`` in another order.

    They come in that of the images, where those of one kind may stand together: first ones that are
    easy would be taken for all.
    """
    shuffled: Scores = np.random.default_rng(0).permutation(values)
    return shuffled


def _mean(values: Scores) -> float:
    return float(values.mean()) if len(values) else 1.0
