"""`ray job submit` against a real local cluster, as the README says it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.store import Store

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """Start a Ray head with its dashboard; return the dashboard's address and the environment."""
    port, log = free_port(), tmp_path_factory.mktemp("head") / "ray.log"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    # Else head and client disagree: Ray asks for a token wherever an earlier run left one.
    environment["RAY_AUTH_MODE"] = "disabled"
    start = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--port={free_port()}"]
    # The agent's usual port may be taken by another Ray on this machine.
    start += [f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}"]
    start += ["--disable-usage-stats"]
    with open(log, "w") as output:
        process = subprocess.Popen(
            start, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, environment, log)
        yield address, environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(address, environment, log):
    """Wait until the cluster takes jobs: its agent starts seconds after the dashboard."""
    for _ in range(30):
        submitted = submit((address, environment), "true")
        if submitted.returncode == 0:
            return
        time.sleep(1)
    pytest.fail(f"Ray takes no jobs: {submitted.stderr[-2000:]}{log.read_text()[-2000:]}")


def submit(head, *entrypoint):
    address, environment = head
    command = ["ray", "job", "submit", "--address", address, "--working-dir", ".", "--"]
    return subprocess.run(
        [*command, *entrypoint],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_submitted_job_writes_its_store(head, tmp_path):
    settings = ["corpus.images=64", "corpus.size=64", "corpus.shard_rows=16"]
    settings.append(f"corpus.output={tmp_path}/corpus")
    run = submit(
        head,
        "python",
        "-m",
        "jobs",
        "corpus",
        *(part for text in settings for part in ("--set", text)),
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    store = Store.open(tmp_path / "corpus", "corpus")
    assert [entry.rows for entry in store.manifest()] == [16] * 4
    assert list(store.problems()) == []


def test_a_submitted_jobs_mistake_fails_it(head):
    run = submit(head, "python", "-m", "jobs", "corpus", "--set", "corpus.images=0")
    assert run.returncode != 0
    assert "corpus.images" in run.stdout + run.stderr
