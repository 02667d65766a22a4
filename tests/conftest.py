"""Small photos, sources and one Ray session, shared by the tests."""

import os
from functools import partial

import numpy as np
import pytest
import skimage.data

from tests.helpers.images import jpeg_bytes

# Ray takes the GPUs away from workers that ask for none; it warns that this will change.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Tests that run beside each other are told of a narrow screen, which folds tables.
os.environ["COLUMNS"] = "140"


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
    """A local Ray with two CPU slots, and a GPU by name alone, for all tests that need one."""
    import ray

    from cluster.session import ray_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", partial(ray.init, num_gpus=1))
        with ray_session(2):
            yield
