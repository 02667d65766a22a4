import subprocess
import sys

import pytest
import ray

from cluster.lost import told_if_lost
from pipeline.core.errors import LostError

LOSES = """
import sys
from cluster.session import ray_session
from ray._private import worker

with ray_session(1):
    node = worker._global_node
    node.all_processes[sys.argv[1]][0].process.kill()
    import time
    time.sleep(60)
"""


@pytest.mark.ray
def test_a_node_that_dies_under_a_local_job_is_a_line():
    done = subprocess.run([sys.executable, "-c", LOSES, "raylet"], capture_output=True, text=True)
    assert done.returncode == LostError.exit_code
    assert done.stderr == (
        "Ray's raylet on this machine died; run the same command again: it goes on\n"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ray.exceptions.NodeDiedError("gone"), "a part of Ray was lost"),
        (ray.exceptions.RaySystemError("gone"), "a part of Ray was lost"),
        (ray.exceptions.WorkerCrashedError(), "a worker died again and again"),
    ],
)
def test_what_ray_lost_is_a_line(error, line):
    with pytest.raises(LostError, match=line), told_if_lost():
        raise error


@pytest.mark.parametrize(
    "error",
    [ray.exceptions.RuntimeEnvSetupError("no such folder"), ZeroDivisionError("ours")],
)
def test_anything_else_is_raised_as_it_was(error):
    with pytest.raises(type(error)), told_if_lost():
        raise error
