"""Small photos, sources and one Ray session, shared by the tests."""

import io
import os
from contextlib import nullcontext

import numpy as np
import pytest
import skimage.data
from PIL import Image

# Ray takes the GPUs away from workers that ask for none; it warns that this will change.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def jpeg_bytes(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **({"quality": 90} | options))
    return out.getvalue()


@pytest.fixture(scope="session")
def photos():
    """Three real photographs, uint8 (h, w, 3)."""
    return [skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.coffee()]


@pytest.fixture(scope="session")
def jpegs(photos):
    """Twelve different JPEGs of real photographs."""
    tiles = [
        photo[y : y + 150, x : x + 200] for photo in photos for y in (0, 140) for x in (0, 200)
    ]
    return [jpeg_bytes(np.ascontiguousarray(tile)) for tile in tiles]


@pytest.fixture(scope="session")
def ray_cluster():
    """A local Ray with two CPU slots, shared by the tests that need one."""
    from cluster.session import ray_session

    with ray_session(2):
        yield


@pytest.fixture
def measured(tmp_path):
    """Runs of a store as `sluice scale` leaves it, with a start-up that grows by the worker."""
    from jobs.lab.config import ScaleConfig
    from jobs.lab.scale import planned_runs
    from pipeline.core.store import Store
    from tests.lab.scaling.test_run import tasks

    scale = ScaleConfig(workers=(1, 2, 4, 8), repeats=1, images=640)
    store = Store.create(tmp_path, "scaling", scale.model_dump(mode="json", exclude={"output"}))
    runs = planned_runs(scale, 1)
    for number, run in enumerate(runs):
        store.write_shard(
            number, tasks(run.workers, 8 * run.workers, start_up=2 + run.workers, gap=0.01)
        )
    store.finish(len(runs))
    return tmp_path


@pytest.fixture(scope="module")
def dedup_without_ray():
    """`sluice dedup` in this process, shard by shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.dedup.ray_session", lambda *_: nullcontext())
        patch.setattr("jobs.dedup.map_shards", lambda plan, shards, _: map(plan.start(), shards))
        yield
