"""What the lab's page computes from: tables made here, between whose points its script reads."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.core.arrays import Reals
from pipeline.core.forecast import MOST, PARTS, PoolCosts, Shards, forecast, stops_of_jobs
from pipeline.lab.scaling.laws import fit_law
from pipeline.lab.scaling.summary import part, series
from pipeline.pages.growth import Growth

STEPS = (1, 2, 5)
IMAGES = (10, 10**9)
MS = (0.1, 1000.0)
WORKERS = sorted({*(2**p for p in range(14)), *(3 * 2**p for p in range(12)), MOST})
DRAWS = 100  # of the bootstrap of a law's band
BEYOND = 4  # times the most workers that ran, up to which a law is drawn
SLOPES: dict[str, dict[str, Any]] = {
    "growth_all": {"N": lambda n: n, "N²": lambda n: n**2},
    "growth_one": {"N": lambda n: n, "√N": np.sqrt, "log N": np.log},
}
PARTS_OF = {"made up": "", "a real search's": "searched_"}  # and how their columns begin
MERGED = ("search", "certified", "faiss_heap", "tree")
PER = {"growth_all": "all vectors", "growth_one": "1 query"}


def steps(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, ... times a power of ten from ``low`` to ``high``."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    every = [round(step * 10.0**power, 6) for power in powers for step in STEPS]
    return [value for value in every if low <= value <= high]


def forecast_grid(
    costs: PoolCosts, work: str, images: float, ms: float, shards: Shards
) -> dict[str, Any]:
    """Return the forecast of jobs on a grid that holds the job of ``images`` and ``ms``.

    axes: images, ms and workers, ascending; values: by name, seconds of each of PARTS, low and
    high, flat in that order; stops: a row a pair of images and ms, where workers stop helping.
    """
    axes = {"images": sorted({*steps(*IMAGES), images}), "ms": sorted({*steps(*MS), ms})}
    grid = (np.array(axes["images"])[:, None, None], np.array(axes["ms"])[:, None])
    table = forecast(costs, *grid, np.array(WORKERS), shards)
    names = (*PARTS, "low", "high")
    jobs = [(int(n), m) for n, m in product(axes["images"], axes["ms"])]
    stops = stops_of_jobs(costs, jobs, shards, work)
    return {
        "axes": axes | {"workers": WORKERS},
        "values": {name: short(table[name].to_numpy()) for name in names},
        "stops": [{"workers": stop.workers, "reason": stop.reason} for stop in stops],
    }


def short(values: Reals) -> list[float]:
    """Return ``values`` with five digits, which is more than a page shows."""
    return [float(f"{value:.5g}") for value in values.tolist()]


def efficiency_rows(runs: pa.Table | None) -> list[dict[str, Any]]:
    """Return a row a run of strong scaling: its speed-up / workers, of the whole run."""
    rows: list[dict[str, Any]] = []
    if runs is None:
        return rows
    for workload, mode in series(runs):
        if mode != "strong":
            continue
        mine = part(runs, workload, mode)
        workers, rates = mine["workers"].to_numpy(), mine["whole_rate"].to_numpy()
        shares = rates / workers / _one(workers, rates)
        facts = {"kind": "emulated" if workload == "emulated" else "measured", "workload": workload}
        pairs = zip(workers.tolist(), short(shares), strict=True)
        rows += [facts | {"workers": count, "efficiency": share} for count, share in pairs]
    return rows


def _one(workers: Any, rates: Reals) -> float:
    """Return the rate of one worker, by the median of the fewest there are."""
    least = workers.min()
    return float(np.median(rates[workers == least]) / least)


def law_rows(
    runs: pa.Table | None, laws: pa.Table | None, workload: str
) -> tuple[str | None, list[dict[str, float]]]:
    """Return the law chosen for the whole run of ``workload``, and it by workers with its band.

    None where there are too few worker counts to choose one; without repeats there is no band.
    """
    wanted = {"workload": workload, "mode": "strong", "rate": "whole_rate", "chosen": True}
    rows = laws.to_pylist() if laws else []
    chosen = [row["law"] for row in rows if wanted.items() <= row.items()]
    if runs is None or not chosen:
        return None, []
    mine = part(runs, workload, "strong")
    workers, rates = mine["workers"].to_numpy(), mine["whole_rate"].to_numpy()
    points = np.array([n for n in WORKERS if n <= BEYOND * workers.max()], np.float64)
    fit = fit_law(chosen[0], workers, rates, draws=DRAWS)
    one = _one(workers, rates) * points
    columns = {"workers": points, "efficiency": fit.predict(points) / one}
    if len(workers) > len(np.unique(workers)):
        columns |= {n: e / one for n, e in zip(("low", "high"), fit.band(points), strict=True)}
    table = pa.table({name: short(values) for name, values in columns.items()})
    return chosen[0], table.to_pylist()


def growth_rows(growth: Growth | None) -> dict[str, list[dict[str, Any]]]:
    """Return the measured points of each of PER, and beside them slopes to compare with."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, per in PER.items():
        points = growth.points.to_pylist() if growth else []
        mine = [row for row in points if row["per"] == per and row["seconds"] > 0]
        fields = ("way", "vectors", "seconds")
        found[name] = [{key: row[key] for key in fields} for row in mine]
        found[f"{name}_slopes"] = _slopes(mine, SLOPES[name]) if mine else []
    return found


def _slopes(points: list[dict[str, Any]], laws: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ends of each law's line, begun where the middle one of the ways begins."""
    first, last = (pick(row["vectors"] for row in points) for pick in (min, max))
    begins = np.median([row["seconds"] for row in points if row["vectors"] == first])
    rows = []
    for slope, law in laws.items():
        for vectors in np.geomspace(first, last, 20):
            seconds = float(begins * law(vectors) / law(first))
            label = slope if vectors == last else ""
            rows.append({"slope": slope, "vectors": vectors, "seconds": seconds, "label": label})
    return rows


def nearest_rows(nearest: pa.Table | None) -> dict[str, list[dict[str, Any]]]:
    """Return one query's milliseconds by workers, split into what it waited for."""
    rows, totals = [], []
    for row in nearest.to_pylist() if nearest else []:
        by = str(row["workers"]) if row["workers"] else "no Ray"
        parts = {"scan": "slowest_shard", "scheduling": "scheduling", "merge": "merge"}
        for order, (name, column) in enumerate(parts.items()):
            rows.append({"by": by, "part": name, "ms": max(0.0, row[column]), "order": order})
        totals.append({"by": by, "ms": row["latency"], "label": f"{row['latency']:.3g} ms"})
    return {"nearest": rows, "nearest_totals": totals}


def merge_rows(merge: pa.Table | None) -> list[dict[str, Any]]:
    """Return the seconds of search and merges by PARTS_OF, shards and queries, for least k."""
    if merge is None:
        return []
    least = pa.compute.min(merge["k"])
    found = []
    for row in merge.filter(pa.compute.equal(merge["k"], least)).to_pylist():
        for parts, prefix in PARTS_OF.items():
            times = {name: row.get(prefix + name) for name in MERGED}
            if times["search"] and times["certified"]:
                facts = {"shards": row["shards"], "queries": row["queries"], "k": row["k"]}
                found.append({"parts": parts} | facts | times)
    return found


def plans_by_recall(costs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of recall_costs as one plan a recall, the recalls ascending."""
    plans: dict[float, dict[str, Any]] = {}
    for row in sorted(costs, key=lambda row: row["recall"]):
        facts = {name: row[name] for name in ("recall", "bound", "queries")} | {"stages": []}
        stage = {name: row[name] for name in ("stage", "share", "ms")}
        plan = plans.setdefault(row["recall"], facts | {"ms": 0.0})
        plan["stages"].append(stage)
        plan["ms"] += row["share"] * row["ms"]
    return list(plans.values())
