"""What a plan gives each category of queries, and how unlike single queries' recalls are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.planner import CascadePlan, Evidence, of_planning, proved_recall, recalls_of
from pipeline.core.arrays import Ids, Mask, Scores

ALL = "all"
BY_CATEGORY = pa.schema(
    [
        ("like", pa.string()),  # key of the calibration image in its middle, or ALL
        ("queries", pa.int64()),  # of the batch
        ("tested", pa.int64()),  # calibration queries
        ("asked", pa.float64()),  # recall of all together; null where a time was allowed
        ("recall", pa.float64()),  # mean of those tested
        ("bound", pa.float64()),  # proved
        ("kept", pa.float64()),  # share of the images, at most, that a query runs the CNN on
        ("below_half", pa.float64()),  # share of those tested with less than half of ``asked``
        ("complete", pa.float64()),  # share of those tested with all
    ]
)


def recall_by_category(
    evidence: Evidence,
    plan: CascadePlan,
    names: Sequence[str],
    category: Ids,
    asked: float | None,
    confidence: float,
) -> pa.Table:
    """Return a row of BY_CATEGORY for each of the categories ``names``, then one for all.

    category int (q,): of the batch's queries. The categories' bounds hold together at
    ``confidence`` (Bonferroni) for a plan fixed beforehand; this one all queries together have
    chosen. Where one of several neighbours was drawn for each query, the shares of the queries
    are null; a single category has no row of its own, and without stages there are none.
    """
    if not plan.stages:
        return BY_CATEGORY.empty_table()
    recalls, mine = recalls_of(evidence, plan.stages, plan.keep), evidence.category
    there = np.unique(mine).tolist()
    split = 1 - (1 - confidence) / len(there)
    parts = [(names[n], mine == n, category == n, split) for n in there if len(there) > 1]
    parts.append((ALL, mine >= 0, category >= 0, confidence))
    rows = []
    for name, some, queries, sure in parts:
        kept = plan.keeps(-1, mine[some]).mean() / plan.sample
        facts = {"like": name, "queries": int(queries.sum()), "asked": asked, "kept": kept}
        half = (asked or plan.recall) / 2
        rows.append(facts | _tested(evidence, recalls, some, half, sure))
    return pa.Table.from_pylist(rows, BY_CATEGORY)


def _tested(
    evidence: Evidence, recalls: Scores, some: Mask, half: float, confidence: float
) -> dict[str, Any]:
    mine = recalls[some & ~of_planning(len(recalls))]
    if not len(mine):
        return {"tested": 0}
    bound = proved_recall(evidence, recalls, some, confidence)
    facts = {"tested": len(mine), "recall": mine.mean(), "bound": bound}
    if evidence.drawn:
        return facts
    every = 1 - 1e-9  # of weights that sum to 1 but for rounding
    return facts | {"below_half": (mine < half).mean(), "complete": (mine > every).mean()}
