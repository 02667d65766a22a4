from dataclasses import asdict

import pytest

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.lab.scaling.experiment import Experiment, planned_runs, shuffled
from pipeline.lab.scaling.settings import ScaleSettings
from tests.helpers.scaling import tasks


def test_the_order_is_random_but_the_seeds():
    runs = planned_runs(ScaleSettings(workers=(1, 2, 4), repeats=2), 1)
    assert len(runs) == 2 * (1 + 3 + 3)
    assert shuffled(runs, 1) == shuffled(runs, 1) != shuffled(runs, 2)
    assert sorted(number for number, _ in shuffled(runs, 1)) == list(range(len(runs)))
    assert [run.repeat for _, run in shuffled(runs, 1)] == [0] * 7 + [1] * 7


def test_real_work_goes_up_to_the_cores_and_has_no_weak_mode():
    runs = planned_runs(ScaleSettings(workloads=("sign", "search"), repeats=1), 4)
    found = [(run.workload, run.mode, run.workers) for run in runs]
    each = [("single", 1), ("strong", 1), ("strong", 2), ("strong", 4)]
    assert found == [(workload, *run) for workload in ("sign", "search") for run in each]
    assert not any(run.emulated for run in runs)


def test_without_emulated_runs_there_is_nothing_to_calibrate(tmp_path):
    settings = ScaleSettings(workloads=("sign",), workers=(1,), repeats=1)
    store = Store.create(tmp_path, "scaling", asdict(settings) | {"cores": 1})
    for number in range(2):
        store.write_shard(number, tasks(1, 2))
    store.finish(2)
    experiment = Experiment.of(tmp_path)
    assert experiment.table()["workload"].to_pylist() == ["sign", "sign"]
    assert experiment.left(0) == []
    with pytest.raises(InputError, match="holds no emulated runs"):
        experiment.calibrated()
