"""What each recall asked for would cost: the planner's answers from the calibration's evidence."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import Calibration, StageFilters
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.planner import CascadePlan, Evidence, StageCosts, expected_shares
from pipeline.cascade.stages import LAST, STAGES
from pipeline.cascade.stages.stage import Stage
from pipeline.core.arrays import Vectors
from pipeline.core.store import Store
from pipeline.images.reader import read_shard

TIMED_IMAGES = 16
ROUNDS = 3

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
        for stage, share in zip((*plan.stages, LAST), shares, strict=True):
            cost = evidence.costs.milliseconds[stage]
            facts = (recall, plan.bound, stage, left * share, cost, queries)
            rows.append(dict(zip(RECALL_COSTS.names, facts, strict=True)))
    return pa.Table.from_pylist(rows, RECALL_COSTS)


def measure_costs(plan: OnDemandPlan, signatures: Store, calibration: Calibration) -> StageCosts:
    """Time every stage on images of the first shard, ROUNDS times; the medians."""
    features = plan.start()
    shard = signatures.manifest()[0].shard
    whole = read_shard(plan.source, plan.manifest, shard)
    signed = signatures.read(shard)
    ids = signed["id"].to_numpy()[:TIMED_IMAGES]
    images = features.images(shard, np.sort(ids))
    read = _milliseconds(lambda: read_shard(plan.source, plan.manifest, shard), whole.num_rows)
    sample = calibration.sample

    costs = {}
    for name, stage in STAGES.items():
        if stage.network:
            costs[name] = read + _make(features.make, name, images)
        elif stage.filters:
            compare = _comparison(stage, calibration.filters, sample)
            costs[name] = _milliseconds(compare, sample.num_rows)
    return StageCosts(costs)


def _comparison(stage: Stage, filters: StageFilters, sample: pa.Table) -> Callable[[], object]:
    """Return what a query pays of ``stage``."""

    def compare(codes: Vectors) -> object:
        return codes[:1] @ codes.T

    if not stage.embeddings:
        return lambda: compare(filters.codes(stage.name, sample))
    kept = filters.codes(stage.name, sample)  # made once, for all queries
    return lambda: compare(kept)


def _make(make: Callable[[str, pa.Table], object], name: str, images: pa.Table) -> float:
    make(name, images.slice(0, 1))
    return _milliseconds(lambda: make(name, images), images.num_rows)


def _milliseconds(work: Callable[[], object], images: int) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began) / images)
    return float(np.median(times))
