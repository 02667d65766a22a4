"""What the tests of the lab share."""

import pytest

from jobs.lab.config import ScaleConfig
from jobs.lab.scale import planned_runs
from pipeline.core.store import Store
from tests.helpers.scaling import tasks


@pytest.fixture
def measured(tmp_path):
    """Runs of a store as `sluice scale` leaves it, with a start-up that grows by the worker."""
    scale = ScaleConfig(workers=(1, 2, 4, 8), repeats=1, images=640)
    store = Store.create(tmp_path, "scaling", scale.model_dump(mode="json", exclude={"output"}))
    runs = planned_runs(scale, 1)
    for number, run in enumerate(runs):
        store.write_shard(
            number, tasks(run.workers, 8 * run.workers, start_up=2 + run.workers, gap=0.01)
        )
    store.finish(len(runs))
    return tmp_path
