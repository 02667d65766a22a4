import os
import subprocess
import sys

import pytest
import ray

from cluster.session import gpu_share
from pipeline.core.errors import ConfigError


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
