import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.config import EmbedConfig, SourceConfig
from jobs.lab.config import LabConfig, ScaleConfig
from jobs.lab.scale import scale
from pipeline.core.errors import ConfigError, StoreError
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.core.steady_state import WARM_FROM
from pipeline.lab.scaling.emulated import EmulatedPlan, made_up_part
from pipeline.lab.scaling.experiment import planned_runs, shuffled
from pipeline.lab.scaling.run import RunSettings, run_phases, run_row
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.summary import fitted_laws, scaling_summary
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store
from tests.helpers.scaling import tasks


@settings(max_examples=20, deadline=None)
@given(workers=st.integers(1, 8), turns=st.integers(2, 6), gap=st.floats(0, 1))
def test_phases_of_a_run_add_up_and_give_its_rate(workers, turns, gap):
    phases = run_phases(tasks(workers, workers * turns, gap=gap))
    assert (phases.session, phases.start_up, phases.drain) == pytest.approx((2.0, 3.0, 1.5))
    assert phases.start_up + phases.work + phases.drain == pytest.approx(phases.wall)
    assert phases.merge == pytest.approx(0.25 * workers * turns)
    shards = turns - 1 if turns >= WARM_FROM else turns  # after the first, each with its wait
    busy = shards * 2 / (shards * 2 + (turns - 1) * gap)
    assert phases.busy == pytest.approx(busy)
    assert phases.steady_rate == pytest.approx(workers * 5 * busy)


def test_the_steady_state_is_while_all_workers_work():
    late = tasks(2, 8).to_pylist()
    for task in late:  # worker 1 starts a shard later and so ends one later
        if task["worker"] == "w1":
            task["started"] += 2
            task["ended"] += 2
    phases = run_phases(pa.Table.from_pylist(late))
    assert phases.steady_rate == pytest.approx(10)
    assert phases.tail == pytest.approx(2)


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
    assert [row["efficiency"] for row in rows] == pytest.approx([1.0] * 5)
    assert rows[-1]["speedup"] == pytest.approx((128 + 4.5) / (8 + 4.5))
    assert {row["cost"] for row in rows} == {2}
    serial = [row["serial"] for row in rows[1:]]
    assert serial == pytest.approx([4.5 / 132.5] * 4)  # start-up and drain are all that is serial


def test_laws_are_fitted_to_the_steady_and_the_whole_rate():
    laws = fitted_laws(runs_table(1.0)).to_pylist()
    of_amdahl = {
        row["rate"]: row
        for row in laws
        if row["law"] == "Amdahl" and row["parameter"] == "contention"
    }
    assert of_amdahl["whole_rate"]["value"] == pytest.approx(4.5 / 132.5, rel=1e-3)
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


def test_the_order_is_random_but_the_seeds():
    runs = planned_runs(ScaleSettings(workers=(1, 2, 4), repeats=2), 1)
    assert len(runs) == 2 * (1 + 3 + 3)
    assert shuffled(runs, 1) == shuffled(runs, 1) != shuffled(runs, 2)
    assert sorted(number for number, _ in shuffled(runs, 1)) == list(range(len(runs)))
    assert [run.repeat for _, run in shuffled(runs, 1)] == [0] * 7 + [1] * 7


def test_an_emulated_shard_is_the_same_whoever_does_it():
    plan = EmulatedPlan(25, 10, 0.0, 3, 5)
    assert [plan.rows(shard) for shard in plan.shards] == [10, 10, 5]
    one, other = plan.start()(2), plan.start()(2)
    assert one["ids"] == other["ids"]
    parts = [made_up_part(shard, 3, 5) for shard in range(3)]
    assert len(np.unique([part.ids for part in parts])) == 45
    assert all((np.diff(part.scores) <= 0).all() for part in parts)


@pytest.mark.ray
def test_scale_writes_runs_and_laws_and_goes_on(ray_cluster, tmp_path):
    def config(**more):
        small = {"workers": (1, 2), "repeats": 1, "ms": 1.0, "shard_images": 4}
        small |= {"images": 24, "images_a_worker": 12, "output": tmp_path / "scale"}
        return LabConfig(scale=ScaleConfig(**small | more))

    scale(config())
    runs = pq.read_table(tmp_path / "scale" / "runs.parquet")
    assert runs["mode"].to_pylist() == ["single", "strong", "strong", "weak", "weak"]
    assert runs["images"].to_pylist() == [24, 24, 24, 12, 24]
    assert all(runs["emulated"].to_pylist())
    laws = pq.read_table(tmp_path / "scale" / "laws.parquet")
    assert set(laws["law"].to_pylist()) == {"linear", "Amdahl", "Gustafson", "USL"}
    before = (tmp_path / "scale" / "shards" / "000001.parquet").read_bytes()
    (tmp_path / "scale" / "entries" / "000002.json").unlink()
    scale(config())
    assert (tmp_path / "scale" / "shards" / "000001.parquet").read_bytes() == before
    assert (tmp_path / "scale" / "entries" / "000002.json").exists()
    with pytest.raises(StoreError, match="other settings"):
        scale(config(ms=2.0))


def test_real_work_goes_up_to_the_cores_and_has_no_weak_mode():
    runs = planned_runs(ScaleSettings(workloads=("sign", "search"), repeats=1), 4)
    found = [(run.workload, run.mode, run.workers) for run in runs]
    each = [("single", 1), ("strong", 1), ("strong", 2), ("strong", 4)]
    assert found == [(workload, *run) for workload in ("sign", "search") for run in each]
    assert not any(run.emulated for run in runs)


@pytest.mark.ray
def test_scale_times_every_real_workload(ray_cluster, tmp_path, jpegs, capsys, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(jpegs):
        (tmp_path / "photos" / f"{number:02}.jpg").write_bytes(data)

    def config(**more):
        small = {"workers": (1, 2), "repeats": 1, "images": 300, "queries": 5, "k": 3}
        small |= {"workloads": ("embed", "sign", "search"), "output": tmp_path / "scale"}
        return LabConfig(
            scale=ScaleConfig(**small | more),
            source=SourceConfig(url=str(tmp_path / "photos"), shard_rows=4),
            embed=EmbedConfig(output=tmp_path / "embeddings", input_size=64, batch_size=4),
        )

    made = SyntheticSettings(400, 100, 32, 8)
    synthetic_store(tmp_path / "embeddings", made, in_process, RunRecord("make vectors", 0, 0))
    scale(config())
    runs = pq.read_table(tmp_path / "scale" / "runs.parquet").to_pandas()
    wanted = planned_runs(config().scale.settings(), 2)
    found = list(zip(runs["workload"], runs["mode"], runs["workers"], strict=True))
    assert found == [(run.workload, run.mode, run.workers) for run in wanted]
    assert not runs["emulated"].any()
    assert runs["shards"].tolist() == [1, 3, 3] * 3
    assert (runs["merge"][(runs["workload"] == "search") & (runs["mode"] == "strong")] > 0).all()
    rows = scaling_summary(pq.read_table(tmp_path / "scale" / "runs.parquet"))
    assert {row["workload"] for row in rows} == {"embed", "sign", "search"}
    told = " ".join(capsys.readouterr().out.split())
    assert "all below five worker counts" in told
    for workload in ("embed", "sign", "search"):
        assert f"{workload} strong │ whole │ USL coherency" in told
    assert not (tmp_path / "scale" / "scratch").exists()
    (tmp_path / "photos" / "zz.jpg").write_bytes(jpegs[0])
    with pytest.raises(StoreError, match="source_units"):
        scale(config())
    with pytest.raises(ConfigError, match="make 1 shards, too few for 2 workers"):
        scale(config(images=100, workloads=("search",), output=tmp_path / "few"))
    with pytest.raises(ConfigError, match="names only more"):
        scale(config(workers=(4, 8), workloads=("search",), output=tmp_path / "few"))
