"""Is the promised recall kept? Calibrate again and again, and measure the true recall each time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import Calibration, draw_neighbours, groups
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.planner import (
    CascadePlan,
    Evidence,
    StageCosts,
    neighbour_ranks,
    plan_cascade,
    ranks_among,
    thresholds,
)
from pipeline.cascade.stages import LAST, LEARNED
from pipeline.core.arrays import Ids, Vectors
from pipeline.core.bounds import lower_bound
from pipeline.core.tables import embedding_matrix

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Trial:
    """One calibration: its plan, and the recall it really gave on images it had not seen."""

    plan: CascadePlan
    recall: float


class PromiseTrials:
    """Trials over a collection whose every feature is known: a large calibration sample's images.

    Each trial draws its own calibration sample from the collection; the true neighbours are those
    of brute force over all of it.
    """

    def __init__(self, whole: Calibration, neighbours: Neighbours, k: int) -> None:
        self.neighbours = neighbours
        self.k = k
        self.vectors = embedding_matrix(whole.sample["embedding"])
        self.group = groups(whole.sample)
        asking = whole.sample if neighbours == "semantic" else whole.copies
        self.codes = {s: whole.filters.codes(s, whole.sample) for s in LEARNED}
        self.asked = {s: whole.filters.query_codes(s, asking, neighbours) for s in self.codes}
        self.wanted = self._brute_force()

    def run(
        self, sample: int, recall: float, confidence: float, seed: int, costs: StageCosts
    ) -> Trial:
        """Calibrate on ``sample`` images drawn by ``seed``, plan, and measure what is reached."""
        drawn = np.random.default_rng(seed).permutation(len(self.vectors))
        mine, rest = drawn[:sample], drawn[sample:]
        codes = {stage: values[mine] for stage, values in self.codes.items()}
        asked = {stage: values[mine] for stage, values in self.asked.items()}
        own = np.arange(sample)
        targets = self._targets(mine, own)
        evidence = Evidence(
            {s: neighbour_ranks(asked[s], targets, own, codes[s]) for s in codes},
            {s: ranks_among(self.asked[s][rest[:1]], codes[s]) for s in codes},
            costs,
            sample,
        )
        plan = plan_cascade(evidence, dict.fromkeys(codes), recall, confidence)
        return Trial(plan, self._true_recall(plan, codes, rest))

    def _targets(self, mine: Ids, own: Ids) -> Ids:
        if self.neighbours == "copies":
            return own
        share = len(mine) / len(self.vectors)
        return draw_neighbours(self.vectors[mine], self.k, share, self.group[mine])

    def _brute_force(self) -> Ids:
        """Return int64 (n, k) rows of each image's true neighbours; for copies (n, 1), itself."""
        if self.neighbours == "copies":
            return np.arange(len(self.vectors))[:, None]
        parts = []
        for start in range(0, len(self.vectors), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            scores = self.vectors[rows] @ self.vectors.T
            scores[self.group[rows][:, None] == self.group[None, :]] = -np.inf
            parts.append(np.argsort(-scores, axis=1, kind="stable")[:, : self.k])
        return np.concatenate(parts)

    def _true_recall(self, plan: CascadePlan, codes: dict[str, Vectors], rest: Ids) -> float:
        wanted = self.wanted[rest]
        passed = np.ones(wanted.shape, np.bool_)
        for stage, keep in zip(plan.stages, plan.keep, strict=True):
            asked = self.asked[stage][rest]
            scores = np.einsum("qc,qkc->qk", asked, self.codes[stage][wanted])
            passed &= scores >= thresholds(asked, codes[stage], keep)[:, None]
        return float(passed.mean())


def promise_table(
    trials: Mapping[Neighbours, Sequence[Trial]], recall: float, costs: StageCosts
) -> pa.Table:
    """Return a row a kind of neighbours: how many trials gave less than ``recall``, and at what.

    "at most" is the upper bound of that share at 95 % confidence; "speed-up" the CNN on all over
    the median plan's expected cost; "gave up" counts the trials without a plan.
    """
    return pa.Table.from_pylist([_row(who, found, recall, costs) for who, found in trials.items()])


def _row(
    who: Neighbours, trials: Sequence[Trial], recall: float, costs: StageCosts
) -> dict[str, str | float]:
    reached = [trial.recall for trial in trials]
    broken = sum(found < recall for found in reached)
    cost = float(np.median([trial.plan.milliseconds for trial in trials]))
    return {
        "neighbours": who,
        "broken": broken,
        "share": broken / len(trials),
        "at most, 95 %": 1 - lower_bound(len(trials) - broken, len(trials), 0.95),
        "recall": float(np.median(reached)),
        "least": min(reached),
        "speed-up": costs.milliseconds[LAST] / cost,
        "gave up": sum(not trial.plan.stages for trial in trials),
    }
