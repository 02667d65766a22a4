import numpy as np
import pyarrow as pa
import pytest

from pipeline.lab.scaling.run import RunSettings, run_row
from pipeline.lab.scaling.summary import SERIAL, fitted_laws, scaling_summary, unfitted_laws
from tests.helpers.scaling import tasks


def runs_table(efficiency):
    runs = [(RunSettings("emulated", "single", 1, 0, 80, True), tasks(1, 64, start_up=0.0))]
    for workers in (1, 2, 4, 8, 16):
        gap = 2.0 / efficiency ** np.log2(workers) - 2.0
        run = RunSettings("emulated", "strong", workers, 0, 640, True)
        runs.append((run, tasks(workers, 64, gap=gap)))
    return pa.Table.from_pylist([run_row(*run) for run in runs])


def test_the_summary_tells_efficiency_serial_fraction_and_cost():
    rows = scaling_summary(runs_table(1.0))
    assert [row["workers"] for row in rows] == [1, 2, 4, 8, 16]
    assert [row["steady_efficiency"] for row in rows] == pytest.approx([1.0] * 5)
    assert rows[-1]["speed_up"] == pytest.approx((128 + 8) / (8 + 8))
    assert rows[-1]["efficiency"] == pytest.approx((128 + 8) / (8 + 8) / 16)
    assert {row["cost_workers"] for row in rows} == {2}
    assert rows[0]["serial_inferred"] is None
    serial = [row["serial_inferred"] for row in rows[1:]]
    assert serial == pytest.approx([8 / 136] * 4)  # all but the work is serial
    assert [row["serial_measured"] for row in rows] == pytest.approx([8 / 136] * 5)


def test_laws_are_fitted_to_the_steady_and_the_whole_rate():
    laws = fitted_laws(runs_table(1.0)).to_pylist()
    of_amdahl = {
        row["rate"]: row
        for row in laws
        if row["law"] == "Amdahl" and row["parameter"] == "contention"
    }
    assert of_amdahl["whole_rate"]["value"] == pytest.approx(8 / 136, rel=1e-3)
    measured = next(row for row in laws if row["parameter"] == SERIAL)
    assert measured["value"] == pytest.approx(8 / 136)
    assert measured["held_out_error"] == pytest.approx(0, abs=1e-9)
    assert of_amdahl["steady_rate"]["value"] == pytest.approx(0, abs=1e-4)
    chosen = {row["law"] for row in laws if row["rate"] == "whole_rate" and row["chosen"]}
    assert len(chosen) == 1
    assert max(row["held_out_error"] or 0 for row in laws) < 0.05


def test_laws_of_the_steady_rate_leave_out_runs_with_few_shards_a_worker():
    runs = runs_table(1.0).to_pylist()
    runs[-1] |= {"shards": 32, "steady_rate": runs[-1]["steady_rate"] / 2}
    contention = {
        row["rate"]: row["value"]
        for row in fitted_laws(pa.Table.from_pylist(runs)).to_pylist()
        if row["law"] == "Amdahl" and row["parameter"] == "contention"
    }
    assert contention["steady_rate"] == pytest.approx(0, abs=1e-4)
    runs[-1] |= {"shards": 64}
    laws = fitted_laws(pa.Table.from_pylist(runs)).to_pylist()
    assert max(row["value"] for row in laws if row["parameter"] == "contention") > 0.01


def test_one_repeat_has_no_interval_and_two_counts_no_law():
    every = runs_table(0.9)
    laws = fitted_laws(every).to_pylist()
    assert {(row["low"], row["high"]) for row in laws} == {(None, None)}
    assert unfitted_laws(every) == []
    two = every.filter(np.asarray(every["workers"]) <= 2)
    assert {row["parameter"] for row in fitted_laws(two).to_pylist()} == {SERIAL}
    needed = {"linear": 3, "Amdahl": 4, "Gustafson": 4, "USL": 5}
    assert unfitted_laws(two) == [("emulated", "strong", 2, needed)]
    again = pa.Table.from_pylist([row | {"repeat": 1} for row in every.to_pylist()])
    repeated = fitted_laws(pa.concat_tables([every, again])).to_pylist()
    assert all(row["low"] <= row["high"] for row in repeated)
