"""What the tests of the lab share."""

from dataclasses import asdict

import pytest

from pipeline.core.store import Store
from pipeline.lab.scaling.experiment import planned_runs
from pipeline.lab.scaling.settings import ScaleSettings
from tests.helpers.scaling import tasks

SETTINGS = ScaleSettings(workers=(1, 2, 4, 8), repeats=1, images=640)


def write_runs(root, identity):
    store, runs = Store.create(root, "scaling", identity), planned_runs(SETTINGS, 1)
    for number, run in enumerate(runs):
        store.write_shard(
            number, tasks(run.workers, 8 * run.workers, start_up=2 + run.workers, gap=0.01)
        )
    store.finish(len(runs))
    return root


@pytest.fixture
def measured(tmp_path):
    """Runs of a store as `sluice lab scale` leaves it, with a start-up that grows by the worker."""
    return write_runs(tmp_path, asdict(SETTINGS))
