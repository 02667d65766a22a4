from dataclasses import asdict

import pytest

from pipeline.core.errors import InputError, StoreError
from pipeline.core.store import Store
from pipeline.lab.scaling.emulated import EmulatedPlan
from pipeline.lab.scaling.experiment import Experiment, planned_runs, shuffled, timed_run
from pipeline.lab.scaling.run import RUN_COLUMNS, RunSettings
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.work import Work, emulated_work
from pipeline.lab.scaling.workloads import Workload
from tests.helpers.scaling import tasks


def test_the_order_is_random_but_the_seeds():
    runs = planned_runs(ScaleSettings(workers=(1, 2, 4), repeats=2), 1)
    assert len(runs) == 2 * (1 + 3 + 3)
    assert shuffled(runs, 1) == shuffled(runs, 1) != shuffled(runs, 2)
    assert sorted(number for number, _ in shuffled(runs, 1)) == list(range(len(runs)))
    assert [run.repeat for _, run in shuffled(runs, 1)] == [0] * 7 + [1] * 7


def test_real_work_goes_up_to_the_cores_and_has_no_weak_mode():
    wanted = ScaleSettings(workloads=("sign", "search"), workers=(1, 2, 4, 8), repeats=1)
    runs = planned_runs(wanted, 4)
    found = [(run.workload, run.mode, run.workers) for run in runs]
    each = [("single", 1), ("strong", 1), ("strong", 2), ("strong", 4)]
    assert found == [(workload, *run) for workload in ("sign", "search") for run in each]
    assert not any(run.emulated for run in runs)


def test_real_runs_alone_are_enough_to_calibrate(tmp_path):
    settings = ScaleSettings(workloads=("sign",), workers=(1,), repeats=1)
    identity = asdict(settings) | {"cores": 1, "source_images": 1000}
    store = Store.create(tmp_path, "scaling", identity)
    for number in range(2):
        store.write_shard(number, tasks(1, 2))
    store.finish(2)
    experiment = Experiment.of(tmp_path)
    assert experiment.table()["workload"].to_pylist() == ["sign", "sign"]
    assert experiment.left(0) == []
    found = experiment.calibrated()
    assert (found.workload, found.errors) == ("sign", [])
    assert found.ms == pytest.approx(200)
    assert found.costs.planning_an_image == pytest.approx(0.001)  # 1 s of the whole source
    assert found.costs.planning == 0


def test_runs_of_another_version_are_told_as_such(tmp_path):
    settings = ScaleSettings(workloads=("sign",), workers=(1,), repeats=1)
    store = Store.create(tmp_path, "scaling", asdict(settings) | {"cores": 1})
    for number in range(2):
        store.write_shard(number, tasks(1, 2).drop_columns(["asked"]))
    store.finish(2)
    with pytest.raises(StoreError, match="runs without asked, of another version; delete it"):
        Experiment.of(tmp_path).calibrated()


def test_a_run_alone_is_timed_and_one_without_images_is_refused(tmp_path):
    run = RunSettings("emulated", "single", 1, 0, 4, True)
    plan = EmulatedPlan(4, 2, 0.0, 3, 20)
    there = Workload({}, 2, lambda run, scratch: emulated_work(plan, 2))
    alone = timed_run(there, run, tmp_path, run_timed=None)
    assert alone["rows"].to_pylist() == [4]
    assert set(RUN_COLUMNS) <= set(alone.column_names)
    nothing = Workload({}, 2, lambda run, scratch: Work(plan, [], None, lambda: 0))
    with pytest.raises(InputError, match="emulated found no image"):
        timed_run(nothing, run, tmp_path, run_timed=None)
