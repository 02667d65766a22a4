"""What the lab's page shows, read from what the commands that measure have left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipeline.core.forecast import PoolCosts
from pipeline.core.tables import read_parquet
from pipeline.lab.scaling.experiment import Experiment
from pipeline.pages.growth import Growth, read_growth

SCALE, MERGE, CASCADE = "sluice lab scale", "sluice bench merge", "sluice cascade"


@dataclass(frozen=True)
class LabData:
    """What the page shows. ``runs`` and ``laws`` are of `sluice lab scale`; None is left out.

    funnel: as in_and_out gives it; recall_costs: as `sluice cascade` leaves it, and ``recall`` is
    where its slider stands at first.
    """

    runs: pa.Table
    laws: pa.Table
    pool: PoolCosts
    merge: pa.Table | None
    growth: Growth | None
    funnel: pa.Table | None
    recall_costs: pa.Table | None
    recall: float


def read_lab_data(scale: Path, merge: Path, growth: Path, cascade: Path, recall: float) -> LabData:
    """Return what the outputs of `sluice lab scale`, and of the others where they ran, hold.

    Raises InputError where the scaling runs are not finished, StoreError where a file is damaged.
    """
    return LabData(
        pool=Experiment.of(scale).calibrated().costs,
        runs=_required(scale / "runs.parquet", SCALE),
        laws=_required(scale / "laws.parquet", SCALE),
        merge=_left(merge / "merge.parquet", MERGE),
        growth=read_growth(growth),
        funnel=_funnel(cascade),
        recall_costs=_left(cascade / "recall_costs.parquet", CASCADE),
        recall=recall,
    )


def _required(path: Path, command: str) -> pa.Table:
    return read_parquet(path, f"run {command} again")


def _left(path: Path, command: str) -> pa.Table | None:
    return _required(path, command) if path.exists() else None


def _funnel(folder: Path) -> pa.Table | None:
    funnel, results = (_left(folder / f"{name}.parquet", CASCADE) for name in ("funnel", "results"))
    if funnel is None or results is None:
        return None
    return in_and_out(funnel, pa.compute.count_distinct(results["id"]).as_py())


def in_and_out(funnel: pa.Table, results: int) -> pa.Table:
    """Return (stage, into, out_of): images for any query, of the funnel that a cascade has left.

    results: the different images found, which are what the CNN lets through.
    """
    into = funnel["entered"].to_pylist()
    return pa.table({"stage": funnel["stage"], "into": into, "out_of": [*into[1:], results]})


def missing(data: LabData) -> list[tuple[str, str]]:
    """Return what the page leaves out, each with the command that makes it."""
    costs = data.recall_costs if data.recall_costs else None  # a table without rows tells nothing
    parts = [
        ("the measured growth", "sluice lab growth", data.growth),
        ("the merge's times", MERGE, data.merge),
        ("the funnel of a cascade", CASCADE, data.funnel),
        ("the recall slider, for shares the planner chooses", CASCADE, costs),
    ]
    return [(what, command) for what, command, found in parts if found is None]


def plans_by_recall(costs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of recall_costs as one plan a recall, the recalls ascending."""
    plans: dict[float, dict[str, Any]] = {}
    for row in sorted(costs, key=lambda row: row["recall"]):
        facts = {"recall": row["recall"], "bound": row["bound"], "stages": []}
        stage = {name: row[name] for name in ("stage", "share", "ms")}
        plans.setdefault(row["recall"], facts)["stages"].append(stage)
    return list(plans.values())
