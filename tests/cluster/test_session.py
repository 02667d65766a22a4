import os
import socket
import subprocess
import sys

import pytest
import ray

from cluster import joining, session
from cluster.session import gpu_share
from pipeline.core.errors import ConfigError, LostError


@pytest.mark.parametrize(
    ("gpus", "workers"), [(1, 1), (2, 1), (2, 2), (2, 3), (4, 9), (1, 5), (8, 17)]
)
def test_all_workers_fit_on_the_gpus_and_none_lies_on_two(monkeypatch, gpus, workers):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": float(gpus)})
    share = gpu_share(workers)
    assert 0 < share <= 1
    assert gpus * int(1 / share + 1e-9) >= workers


def test_a_cluster_without_gpus_is_told(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(ConfigError, match="no node of the cluster has a GPU"):
        gpu_share(2)


@pytest.fixture
def listening():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_cluster_that_does_not_answer_is_told(monkeypatch, listening, scheme, closed):
    """Ray would ask it for ten minutes: the test would not end in its time."""
    monkeypatch.setattr(joining, "ANSWER", 0.2)
    at = f"{scheme}127.0.0.1:{1 if closed else listening}"
    told = f"at {at}: nothing of Ray answers within 0.*mend ray.address"
    with pytest.raises(ConfigError, match=told):
        joining.join(at)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("http://127.0.0.1:8265", "that is its dashboard"),
        ("nowhere", "Invalid address format"),
    ],
)
def test_what_is_no_clusters_address_is_told(at, why):
    with pytest.raises(ConfigError, match=f"the Ray cluster at {at}: .*{why}"):
        joining.join(at)


def test_a_ray_that_does_not_start_in_time_is_told(monkeypatch):
    def late(**settings):
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "init", late)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(LostError, match="did not start on this machine in time"):
        session._start(2, None)


CORE_WRITES = """
import os, sys
from cluster.session import core_lines_kept
from pipeline.core.errors import InputError

try:
    with core_lines_kept():
        os.write(2, b"core complains\\n")
        print("ours", file=sys.stderr)
        if sys.argv[1] != "none":
            raise {"mistake": InputError, "bug": ValueError}[sys.argv[1]]("what")
except (InputError, ValueError):
    pass
os.write(2, b"afterwards\\n")
print("ours too", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("error", "core"), [("none", ""), ("mistake", ""), ("bug", "core complains\n")]
)
def test_what_rays_core_writes_is_shown_only_where_a_job_fails(tmp_path, error, core):
    done = subprocess.run(
        [sys.executable, "-c", CORE_WRITES, error],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.stderr == f"ours\n{core}afterwards\nours too\n"
    assert list(tmp_path.iterdir()) == []
