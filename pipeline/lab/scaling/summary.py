"""What a table of timed runs says: medians, efficiencies, serial fractions, COST, laws."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.core.arrays import Reals
from pipeline.core.steady_state import WARM_FROM
from pipeline.lab.scaling.laws import (
    LAWS,
    amdahl,
    choose_law,
    cost,
    counts_needed,
    fit_law,
    karp_flatt,
)

PHASES = ("planning", "start_up", "work", "tail", "drain", "merge", "writing", "wall")
MEDIANS = (*PHASES, "driver_cpu", "steady_rate", "whole_rate")
RATES = ("steady_rate", "whole_rate")
SERIAL = "serial share, measured"
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

    ``steady_efficiency`` is the steady rate against that many times one worker's; ``speed_up`` is
    of the whole run, all that a user waits for, and ``efficiency`` that by the workers.
    ``serial_measured`` is the time in which no worker worked, as a share of the run with the fewest
    workers; ``serial_inferred`` is the Karp-Flatt fraction of the speed-up, None where there is
    none. ``cost_workers`` is the fewest workers whose whole run beat the program of one thread.
    """
    rows = []
    for workload, mode in series(table):
        runs, alone = part(table, workload, mode), part(table, workload, "single")
        workers, whole = runs["workers"].to_numpy(), runs["whole_rate"].to_numpy()
        needed = cost(float(np.median(alone["whole_rate"].to_numpy())), workers, whole)
        counts = np.unique(workers)
        steady, speed = (_medians(runs, name) for name in RATES)
        pools = counts / counts[0]
        speed_ups = speed / speed[0]
        serial, wall = karp_flatt(pools, speed_ups), _medians(runs, "wall")
        idle = wall - _medians(runs, "work")
        for place, count in enumerate(counts.tolist()):
            mine = runs.filter(pa.array(workers == count))
            facts = {"workload": workload, "mode": mode, "workers": count}
            facts |= {name: float(np.median(mine[name].to_numpy())) for name in MEDIANS}
            facts |= {
                "steady_efficiency": float(steady[place] / steady[0] / pools[place]),
                "speed_up": float(speed_ups[place]),
                "efficiency": float(speed_ups[place] / pools[place]),
                "serial_measured": float(idle[place] / wall[0]),
                "serial_inferred": float(serial[place]) if place else None,
                "cost_workers": needed,
            }
            rows.append(facts)
    return rows


def _medians(runs: pa.Table, name: str) -> Reals:
    workers, values = runs["workers"].to_numpy(), runs[name].to_numpy()
    return np.array([np.median(values[workers == count]) for count in np.unique(workers)])


def fitted_laws(table: pa.Table) -> pa.Table:
    """Return the parameters of every law that there are worker counts for, in LAW_SCHEMA.

    ``low`` and ``high`` are null where no count was repeated: one run has no interval. ``chosen``
    is the law that predicted best, ``held_out_error`` its largest relative error on the largest
    counts; null below five worker counts. Those of the steady rate are fitted to runs with
    WARM_FROM shards a worker: with fewer there is hardly a steady state. SERIAL, a row of Amdahl's
    law of the whole run, is what was measured of its contention, and its error on all counts.
    """
    rows = []
    for workload, mode in series(table):
        every = part(table, workload, mode)
        for rate in RATES:
            runs = _with_steady_state(every) if rate == "steady_rate" else every
            found = _laws(runs, rate)
            if rate == "whole_rate" and mode == "strong":
                found += _measured_serial(every)
            rows += [{"workload": workload, "mode": mode, "rate": rate} | row for row in found]
    return pa.Table.from_pylist(rows, LAW_SCHEMA)


def unfitted_laws(table: pa.Table) -> list[tuple[str, str, int, dict[str, int]]]:
    """Return (workload, mode, worker counts, counts that each law lacking some takes)."""
    rows = []
    for workload, mode in series(table):
        counts = len(np.unique(part(table, workload, mode)["workers"].to_numpy()))
        lacking = {law: needed for law in LAWS if (needed := counts_needed(law)) > counts}
        rows += [(workload, mode, counts, lacking)] if lacking else []
    return rows


def _laws(runs: pa.Table, rate: str) -> list[dict[str, Any]]:
    workers, values = runs["workers"].to_numpy(), runs[rate].to_numpy()
    counts, repeats = np.unique(workers, return_counts=True)
    choice = choose_law(workers, values) if len(counts) >= 5 else None
    rows = []
    for law in LAWS:
        if len(counts) < counts_needed(law):
            continue
        chosen = None if choice is None else choice.law == law
        error = choice.error if choice and chosen else None
        for name, value, low, high in fit_law(law, workers, values).intervals():
            ends = (low, high) if repeats.max() > 1 else (None, None)
            rows.append(
                {"law": law, "parameter": name, "value": value, "low": ends[0], "high": ends[1]}
                | {"chosen": chosen, "held_out_error": error}
            )
    return rows


def _measured_serial(runs: pa.Table) -> list[dict[str, Any]]:
    """Return SERIAL: the time in which no worker worked, of a run with the fewest workers.

    Nothing where only one count of workers was run, which has no error.
    """
    workers, wall = runs["workers"].to_numpy(), runs["wall"].to_numpy()
    first = workers == workers.min()
    shares = ((wall - runs["work"].to_numpy()) / wall)[first]
    serial, counts = float(np.median(shares)), np.unique(workers)
    if len(counts) == 1:
        return []
    measured = _medians(runs, "wall")[0] / _medians(runs, "wall")
    error = np.abs(amdahl(counts / counts[0], serial) / measured - 1).max()
    ends = (shares.min(), shares.max()) if len(shares) > 1 else (None, None)
    facts = {"law": "Amdahl", "parameter": SERIAL, "value": serial, "held_out_error": float(error)}
    return [facts | {"low": ends[0], "high": ends[1], "chosen": None}]


def _with_steady_state(runs: pa.Table) -> pa.Table:
    """Return the runs with WARM_FROM shards a worker; all, where none has so many."""
    kept = runs.filter(
        pa.array(runs["shards"].to_numpy() >= WARM_FROM * runs["workers"].to_numpy())
    )
    return kept if kept.num_rows else runs
