"""Images that kill or hang their workers: one command ends well, without them alone."""

import os
import subprocess
import sys

import pytest

from pipeline.core.store import Store
from tests.helpers.evil import KILLED_BY_KILLER, KILLER, many_scans

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize(
    "workers", [pytest.param(["--workers", "1"], marks=pytest.mark.ray), []], ids=["ray", "small"]
)
def test_one_command_ends_well_without_them_alone(tmp_path, jpegs, workers):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(KILLED_BY_KILLER)
    images = {f"{number:02d}": jpegs[number % len(jpegs)] for number in range(40)}
    images |= {"05": KILLER, "17": many_scans(3000, 3000), "30": KILLER}
    (tmp_path / "photos").mkdir()
    for name, data in images.items():
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(data)
    limits = ["--seconds-an-image", "2", "--shard-rows", "20", *workers]
    command = [sys.executable, "-m", "jobs", "sign", tmp_path / "photos", *limits]
    command += ["--output", tmp_path / "out"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), *sys.path])}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    store = Store.open(tmp_path / "out", "signatures")
    refused = store.read_quarantine()
    assert dict(zip(refused["key"].to_pylist(), refused["reason"].to_pylist(), strict=True)) == {
        "05.jpg": "kills-its-decoder",
        "17.jpg": "too-slow",
        "30.jpg": "kills-its-decoder",
    }
    assert store.images() == 37
