"""Ray over several hosts, each a network namespace with its own address; one is killed mid-run."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.corpus import make_corpus
from jobs.settings import load_config
from pipeline.core.folder import files_in, place
from pipeline.core.store import Store
from tests.helpers.files import digests
from tests.helpers.object_store import object_store, objects_below

ROOT = Path(__file__).parents[2]
BRIDGE, SUBNET = f"sl{os.getpid() % 100000}", f"10.{200 + os.getpid() % 50}.{os.getpid() % 250}"


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False).returncode


def may_make_namespaces():
    if not shutil.which("ip") or os.geteuid() != 0 or ip("netns", "add", f"{BRIDGE}t"):
        return False
    return ip("netns", "delete", f"{BRIDGE}t") == 0


pytestmark = [
    pytest.mark.chaos,
    pytest.mark.ray,
    pytest.mark.skipif(not may_make_namespaces(), reason="needs the right to make namespaces"),
]


@pytest.fixture
def hosts():
    """Three namespaces on one bridge, at SUBNET.1 to .3; what is outside of them is at .254."""
    assert ip("link", "add", BRIDGE, "type", "bridge") == 0
    ip("addr", "add", f"{SUBNET}.254/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    names = [f"{BRIDGE}n{number}" for number in (1, 2, 3)]
    for number, name in enumerate(names, start=1):
        ip("netns", "add", name)
        ip(
            "link",
            "add",
            f"{BRIDGE}v{number}",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            name,
        )
        ip("link", "set", f"{BRIDGE}v{number}", "master", BRIDGE, "up")
        for words in (
            ["addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            assert ip("-n", name, *words) == 0
    yield names
    for name in names:
        ip("netns", "delete", name)
    ip("link", "delete", BRIDGE)


def start_on(host, log, *command):
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *command],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def kill_tree(process):
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for member in family:
        member.kill()
    process.wait()


@pytest.fixture
def server(hosts):
    with object_store(f"{SUBNET}.254") as server:
        yield server


@pytest.fixture
def cluster(hosts, server, tmp_path):
    """A head without CPU slots on the first host, a node with one on each of the others."""
    ray, processes = str(Path(sys.executable).parent / "ray"), []
    with open(tmp_path / "ray.log", "w") as log:
        for number, host in enumerate(hosts, start=1):
            address = f"{SUBNET}.{number}"
            role = ["--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false"]
            role = role if number == 1 else [f"--address={SUBNET}.1:6379", "--num-cpus=1"]
            role += [f"--node-ip-address={address}", f"--temp-dir=/tmp/{BRIDGE}"][
                : 2 - (number > 1)
            ]
            processes.append(start_on(host, log, ray, "start", "--block", *role))
            time.sleep(8 if number == 1 else 0)
        yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process)
    shutil.rmtree(f"/tmp/{BRIDGE}", ignore_errors=True)


def options(*settings):
    return [part for text in settings for part in ("--set", text)]


def run_on(host, log, job, *settings):
    with open(log, "w") as told:
        done = start_on(host, told, sys.executable, "-m", "jobs", job, *options(*settings))
        assert done.wait(300) == 0, log.read_text()[-3000:]


def test_hosts_that_share_a_bucket_and_no_folder(hosts, cluster, server, tmp_path):
    """One dies, and the bucket fails now and then: what is left is what a quiet run leaves."""
    root, log = place("s3://bucket/hosts"), tmp_path / "job.log"
    few = ["corpus.images=240", "corpus.shard_rows=12", "corpus.size=96"]
    pool = [f"ray.address={SUBNET}.1:6379", "ray.workers=2"]
    words = options(*few, *pool, f"corpus.output={root}/corpus")
    with open(log, "w") as told, server.failing(0.05):
        job = start_on(hosts[0], told, sys.executable, "-m", "jobs", "corpus", *words)
        entries = root / "corpus" / "entries"
        while len(files_in(entries)) < 2 and job.poll() is None:
            time.sleep(0.1)
        kill_tree(cluster[2])
        assert len(files_in(entries)) < 20
        assert job.wait(240) == 0, log.read_text()[-3000:]
    near = tmp_path / "near"
    make_corpus(load_config(None, [*few, "ray.workers=0", f"corpus.output={near}"]))
    there = objects_below(root / "corpus")
    assert {n: hashlib.sha256(data).hexdigest() for n, data in there.items()} == digests(near)
    pool[1] = "ray.workers=1"
    made = [f"source.url={root}/corpus", f"embed.output={root}/embeddings", "embed.input_size=64"]
    run_on(hosts[0], log, "embed", *pool, *made)
    made += [f"search.output={root}/search", "search.sample_queries=3"]
    run_on(hosts[0], log, "search", *pool, *made)
    assert Store.open(root / "embeddings", "embeddings").images() == 240
    assert (root / "search" / "results.parquet").exists()


def test_a_host_that_dies_mid_run_costs_nothing(hosts, cluster, tmp_path):
    output, log = tmp_path / "corpus", tmp_path / "job.log"
    settings = [f"corpus.output={output}", "corpus.images=480", "corpus.shard_rows=24"]
    settings += ["corpus.size=96", f"ray.address={SUBNET}.1:6379", "ray.workers=2"]
    options = [part for text in settings for part in ("--set", text)]
    with open(log, "w") as told:
        job = start_on(hosts[0], told, sys.executable, "-m", "jobs", "corpus", *options)
        while len(list(output.glob("entries/*.json"))) < 2 and job.poll() is None:
            time.sleep(0.02)
        kill_tree(cluster[2])
        assert len(list(output.glob("entries/*.json"))) < 20
        assert job.wait(240) == 0, log.read_text()[-3000:]
    store = Store.open(output, "corpus")
    assert [entry.rows for entry in store.manifest()] == [24] * 20
    assert list(store.problems()) == []
