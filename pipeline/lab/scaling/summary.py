"""What a table of timed runs says: medians, efficiencies, serial fractions, COST, laws."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.core.arrays import Reals
from pipeline.core.steady_state import WARM_FROM
from pipeline.lab.scaling.laws import LAWS, choose_law, cost, fit_law, karp_flatt

MEDIANS = ("start_up", "work", "tail", "drain", "merge", "wall", "steady_rate", "whole_rate")
RATES = ("steady_rate", "whole_rate")
LAW_SCHEMA = pa.schema(
    [
        ("workload", pa.string()),
        ("mode", pa.string()),
        ("rate", pa.string()),
        ("law", pa.string()),
        ("parameter", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("chosen", pa.bool_()),
        ("held_out_error", pa.float64()),
    ]
)


def series(table: pa.Table) -> list[tuple[str, str]]:
    """Return the (workload, mode) there are, in their order, one thread alone left out."""
    pairs = zip(table["workload"].to_pylist(), table["mode"].to_pylist(), strict=True)
    return [pair for pair in dict.fromkeys(pairs) if pair[1] != "single"]


def part(table: pa.Table, workload: str, mode: str) -> pa.Table:
    """Return the runs of one workload and mode."""
    mine = pa.compute.and_(
        pa.compute.equal(table["workload"], workload), pa.compute.equal(table["mode"], mode)
    )
    return table.filter(mine)


def scaling_summary(table: pa.Table) -> list[dict[str, Any]]:
    """Return a row for each workload, mode and worker count: medians over the repeats.

    ``efficiency`` is the steady rate against that many times one worker's; ``speedup`` is of the
    whole run, start-up and drain in it, and ``serial`` the Karp-Flatt fraction of that speed-up.
    ``cost`` is the fewest workers whose whole run beat the single-threaded program.
    """
    rows = []
    for workload, mode in series(table):
        runs, alone = part(table, workload, mode), part(table, workload, "single")
        workers, whole = runs["workers"].to_numpy(), runs["whole_rate"].to_numpy()
        needed = cost(float(np.median(alone["whole_rate"].to_numpy())), workers, whole)
        counts = np.unique(workers)
        steady, speed = (_medians(runs, name) for name in RATES)
        speedups = speed / speed[0]
        serial = karp_flatt(counts / counts[0], speedups)
        for place, count in enumerate(counts.tolist()):
            mine = runs.filter(pa.array(workers == count))
            efficiency = steady[place] * counts[0] / (count * steady[0])
            facts = {"workload": workload, "mode": mode, "workers": count}
            facts |= {name: float(np.median(mine[name].to_numpy())) for name in MEDIANS}
            facts |= {"efficiency": float(efficiency), "speedup": float(speedups[place])}
            rows.append(facts | {"serial": float(serial[place]), "cost": needed})
    return rows


def _medians(runs: pa.Table, name: str) -> Reals:
    workers, values = runs["workers"].to_numpy(), runs[name].to_numpy()
    return np.array([np.median(values[workers == count]) for count in np.unique(workers)])


def fitted_laws(table: pa.Table) -> pa.Table:
    """Return every law's parameters with their intervals, in LAW_SCHEMA.

    ``chosen`` is the law that predicted best, ``held_out_error`` its largest relative error on
    the largest counts; null below five worker counts. Those of the steady rate are fitted to runs
    with WARM_FROM shards a worker: with fewer there is hardly a steady state.
    """
    rows = []
    for workload, mode in series(table):
        every = part(table, workload, mode)
        for rate in RATES:
            runs = _with_steady_state(every) if rate == "steady_rate" else every
            workers, values = runs["workers"].to_numpy(), runs[rate].to_numpy()
            choice = choose_law(workers, values) if len(np.unique(workers)) >= 5 else None
            for law in LAWS:
                chosen = None if choice is None else choice.law == law
                error = choice.error if choice and chosen else None
                for name, value, low, high in fit_law(law, workers, values).intervals():
                    facts = (workload, mode, rate, law, name, value, low, high, chosen, error)
                    rows.append(dict(zip(LAW_SCHEMA.names, facts, strict=True)))
    return pa.Table.from_pylist(rows, LAW_SCHEMA)


def _with_steady_state(runs: pa.Table) -> pa.Table:
    """Return the runs with WARM_FROM shards a worker; all, where none has so many."""
    kept = runs.filter(
        pa.array(runs["shards"].to_numpy() >= WARM_FROM * runs["workers"].to_numpy())
    )
    return kept if kept.num_rows else runs
