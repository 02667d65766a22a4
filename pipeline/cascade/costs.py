"""What each recall asked for would cost: the planner's answers from the calibration's evidence."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.cascade.planner import CascadePlan, Evidence, expected_shares

RECALLS: tuple[float, ...] = tuple(np.linspace(0.5, 1.0, 51).round(2).tolist())
RECALL_COSTS = pa.schema(
    [
        ("recall", pa.float64()),  # asked for
        ("bound", pa.float64()),  # proved
        ("stage", pa.string()),
        ("share", pa.float64()),  # of the collection's images that reach the stage for any query
        ("ms", pa.float64()),  # an image that does, measured on one thread
        ("queries", pa.int64()),  # of the batch it was planned for
    ]
)


def recall_costs(
    evidence: Evidence, plans: Sequence[CascadePlan], left: float, queries: int
) -> pa.Table:
    """Return a row for each of RECALLS and each stage of its plan in ``plans``, the CNN last.

    left: the share of the images that metadata lets pass. No plans give no rows.
    """
    rows = []
    for recall, plan in zip(RECALLS, plans, strict=False):
        shares = expected_shares(evidence, plan.stages, plan.keep)
        for stage, share in zip((*plan.stages, "cnn"), shares, strict=True):
            cost = evidence.costs.milliseconds[stage]
            facts = (recall, plan.bound, stage, left * share, cost, queries)
            rows.append(dict(zip(RECALL_COSTS.names, facts, strict=True)))
    return pa.Table.from_pylist(rows, RECALL_COSTS)
