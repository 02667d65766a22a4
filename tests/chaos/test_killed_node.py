"""kill -9 of a node, a worker or the driver of a Ray of several nodes; the bytes stay the same.

`make chaos` runs them: they take minutes. The test command has a driver that is killed, and a node
that dies under a local job.
"""

import os
import random
import subprocess
import sys
import time

import psutil
import pytest
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

from pipeline.core.store import Store
from pipeline.corpus.maker import CorpusPlan
from pipeline.corpus.photos import find_photos
from pipeline.corpus.scenes import CorpusSettings
from tests.helpers.files import digests

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
SHARDS = 16
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "9"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("chaos") / "corpus"
    store = Store.create(root, "corpus", {})
    settings = CorpusSettings(seed=0, copies=8, size=64, quality=85)
    make_shard = CorpusPlan(find_photos(None), root, 48 * SHARDS, 48, settings).start()
    for shard in range(SHARDS):
        make_shard(shard)
    store.finish(SHARDS)
    return root


@pytest.fixture
def nodes(monkeypatch):
    """A head without CPU slots and two nodes with one each: three raylets on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def start(corpus, output, address):
    settings = ["source.shard_rows=48", f"source.url={corpus}", f"embed.output={output}"]
    settings += [f"ray.address={address}"] if address else []
    options = [part for text in settings for part in ("--set", text)]
    command = [sys.executable, "-m", "jobs", "embed", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished_shards(output):
    return len(list((output / "entries").glob("*.json")))


def wait_for(job, output, shards):
    while finished_shards(output) < shards and job.poll() is None:
        time.sleep(0.01)


def kill_node(cluster):
    node = cluster.list_all_nodes()[-1]
    cluster.remove_node(node, allow_graceful=False)


def kill_worker(cluster):
    """Kill one of the pool's actors; never a process of another Ray on this machine."""
    raylets = [
        psutil.Process(raylet.process.pid)
        for node in cluster.list_all_nodes()
        for raylet in node.all_processes[PROCESS_TYPE_RAYLET]
    ]
    processes = [child for raylet in raylets for child in raylet.children(recursive=True)]
    random.choice([p for p in processes if "ray::MapWorker" in "".join(p.cmdline()[:1])]).kill()


def finish(job, corpus, output, address):
    """Wait for ``job``; where the kill took it down, give the same command again."""
    told, _ = job.communicate()
    if job.returncode != 0:
        told, _ = (job := start(corpus, output, address)).communicate()
    assert job.returncode == 0, told


@pytest.fixture(scope="module")
def peace(corpus, tmp_path_factory):
    """What a run that nobody disturbs writes, on a Ray of its own."""
    output = tmp_path_factory.mktemp("peace") / "embeddings"
    told, _ = (job := start(corpus, output, None)).communicate()
    assert job.returncode == 0, told
    return digests(output)


def test_a_killed_node_costs_nothing(nodes, corpus, peace, tmp_path):
    war = tmp_path / "war"
    job = start(corpus, war, nodes.address)
    wait_for(job, war, 2)
    kill_node(nodes)
    assert finished_shards(war) < SHARDS
    finish(job, corpus, war, nodes.address)
    assert digests(war) == peace
    assert [entry.rows for entry in Store.open(war, "embeddings").manifest()] == [48] * SHARDS


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_random_kills(seed, nodes, corpus, peace, tmp_path):
    random.seed(seed)
    war, victim = tmp_path / "war", ("driver", "worker", "node")[seed % 3]
    job = start(corpus, war, nodes.address)
    wait_for(job, war, random.randrange(1, SHARDS - 3))
    time.sleep(random.random() / 2)
    if victim == "driver":
        job.kill()
    else:
        {"node": kill_node, "worker": kill_worker}[victim](nodes)
    finish(job, corpus, war, nodes.address)
    assert digests(war) == peace
