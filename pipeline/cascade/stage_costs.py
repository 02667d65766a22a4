"""What each stage of a cascade costs an image, measured on one thread of this machine."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import Calibration
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.planner import StageCosts
from pipeline.core.store import Store
from pipeline.images.reader import read_shard

TIMED_IMAGES = 128
ROUNDS = 3


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

    costs = {name: read + _make(features.make, name, images) for name in ("rough", "cnn")}
    costs["signature"] = _milliseconds(
        lambda: _compare(calibration.filters.codes("signature", sample)), sample.num_rows
    )
    # Its codes are made once and kept; what a query pays is the comparison.
    kept = calibration.filters.codes("pca", sample)
    costs["pca"] = _milliseconds(lambda: _compare(kept), sample.num_rows)
    return StageCosts(costs)


def _compare(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scores: np.ndarray[Any, Any] = codes[:1] @ codes.T
    return scores


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
