"""Ray over several hosts, each a network namespace with its own address; one is killed mid-run."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.files import write_atomically
from pipeline.core.folder import files_in, place
from pipeline.core.store import Store
from pipeline.dedup.applied import BEFORE
from tests.helpers.all_jobs import OF_THE_PLACE
from tests.helpers.command_line import run
from tests.helpers.files import digests
from tests.helpers.object_store import object_store, objects_below

ROOT = Path(__file__).parents[2]
BRIDGE, SUBNET = f"sl{os.getpid() % 100000}", f"10.{200 + os.getpid() % 50}.{os.getpid() % 250}"
RAYS = Path(f"/tmp/{BRIDGE}")  # where Ray's sockets lie, whose names must be short
HEAD = ["--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={RAYS}"]
NODE = [f"--address={SUBNET}.1:6379", "--num-cpus=1"]
OVER = 'mount -t tmpfs none "$1" && mount -t tmpfs none "$2" && cd "$1" && shift 2 && exec "$@"'
APART = ["unshare", "--mount", "sh", "-ec", OVER, "sh"]
COMMANDS = (
    ("embed", "{root}/corpus"),
    ("sign", "{root}/corpus"),
    ("calibrate", "{root}/corpus"),
    ("cascade", "--set", "source.url={root}/corpus"),
    ("index",),
    ("search",),
    ("search", "--index", "--output", "{root}/by_index"),
    ("dedup", "{root}/photos", "--set", "embed.output={root}/of_photos"),
    ("apply", "{root}/dedup", "--move", "{root}/moved"),
)
HOLD_PATHS = ("dedup/attached/groups.parquet", "dedup/attached/applied/000000.parquet")
RECORDS_OF_PATHS = tuple(f"{name}.json" for name in HOLD_PATHS)


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


def start_on(host, log, folder, *command):
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *command],
        cwd=folder,
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


def start_node(hosts, number, folder, apart):
    """Start host ``number``'s node with one CPU, the first's as the head and without.

    apart: of what is in ``folder``, and of Ray's own files, a node has its own, none at first.
    """
    ray, host = str(Path(sys.executable).parent / "ray"), hosts[number - 1]
    own = [*APART, str(folder), str(RAYS)] if apart and number > 1 else []
    own += [ray, "start", "--block", f"--node-ip-address={SUBNET}.{number}"]
    with open(folder / f"ray-{number}.log", "w") as log:
        return start_on(host, log, folder, *own, *(HEAD if number == 1 else NODE))


def nodes(hosts, folder, apart):
    RAYS.mkdir()
    processes = [start_node(hosts, 1, folder, apart)]
    time.sleep(8)
    processes += [start_node(hosts, number, folder, apart) for number in (2, 3)]
    yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process)
    shutil.rmtree(RAYS, ignore_errors=True)


@pytest.fixture
def cluster(hosts, tmp_path):
    yield from nodes(hosts, tmp_path, apart=False)


@pytest.fixture
def cluster_apart(hosts, server, tmp_path):
    yield from nodes(hosts, tmp_path, apart=True)


def options(*settings):
    return [part for text in settings for part in ("--set", text)]


def below(root):
    """The options of all commands: a small collection, its outputs below ``root``."""
    made = {"corpus": "corpus", "embed": "embeddings", "sign": "signatures", "index": "index"}
    made |= {"search": "search", "dedup": "dedup", "cascade": "cascade"}
    few = ["corpus.images=160", "corpus.shard_rows=8", "corpus.size=96", "source.shard_rows=40"]
    few += ["embed.input_size=64", "search.sample_queries=3", "calibrate.fit_images=60"]
    few += ["calibrate.calibration_images=80", "index.buckets=8", "dedup.buckets=4"]
    few += ["dedup.brute_force_up_to=100", f"cascade.features={root}/features"]
    return options(*few, *(f"{job}.output={root}/{name}" for job, name in made.items()))


def words_of(command, root):
    job, *words = (word.format(root=root) for word in command)
    return [job, *below(root), *words]


def put_photos(corpus, far, near):
    """Put the images of a corpus into both folders, each a file of its own.

    All of one date in the near one: in a bucket none is the older file.
    """
    store = Store.open(corpus, "corpus")
    near.mkdir()
    for entry in store.manifest():
        for image in store.read(entry.shard, ["id", "bytes"]).to_pylist():
            name = f"{image['id']:04d}.jpg"
            for folder in (far, near):
                write_atomically(folder / name, image["bytes"])
            os.utime(near / name, (0, 0))


def near_by(job, *words):
    told = run(job, *words)
    assert told.exception is None, (job, told.output[-3000:])


def same_anywhere(files, root):
    """Return ``files``, bytes by name, as digests, less times and where the outputs lie."""
    return {
        name: hashlib.sha256(_placeless(name, data).replace(str(root).encode(), b"")).hexdigest()
        for name, data in files.items()
        if not any(part in name for part in (*OF_THE_PLACE, *RECORDS_OF_PATHS))
    }


def _placeless(name, data):
    if name not in HOLD_PATHS:
        return data
    table = pq.read_table(pa.BufferReader(data))
    kept = [column for column in table.column_names if column not in BEFORE]
    return repr(table.select(kept).to_pylist()).encode()


@pytest.mark.timeout(1200)  # ten commands, of which most start workers on both hosts
def test_hosts_that_share_a_bucket_and_no_folder(hosts, cluster_apart, server, tmp_path):
    """One dies, and the bucket fails now and then: what is left is what a quiet run leaves."""
    root, near, log = place("s3://bucket/hosts"), tmp_path / "near", tmp_path / "job.log"
    job = [sys.executable, "-m", "jobs"]
    pool, alone = options(f"ray.address={SUBNET}.1:6379", "ray.workers=2"), options("ray.workers=0")
    with open(log, "w") as told, server.failing(0.05):
        corpus = start_on(hosts[0], told, tmp_path, *job, "corpus", *pool, *below(root))
        entries = root / "corpus" / "entries"
        while len(files_in(entries)) < 2 and corpus.poll() is None:
            time.sleep(0.1)
        kill_tree(cluster_apart[2])
        assert len(files_in(entries)) < 20
        assert corpus.wait(240) == 0, log.read_text()[-3000:]
    cluster_apart[2] = start_node(hosts, 3, tmp_path, apart=True)
    near_by("corpus", *below(near), *alone)
    put_photos(near / "corpus", root / "photos", near / "photos")
    for command in COMMANDS:
        with open(log, "a") as told:
            done = start_on(hosts[0], told, tmp_path, *job, *words_of(command, root), *pool)
            near_by(*words_of(command, near), *alone)
            assert done.wait(300) == 0, (command, log.read_text()[-3000:])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"near", "job.log", "ray-1.log", "ray-2.log", "ray-3.log"}
    here = {name: (near / name).read_bytes() for name in digests(near)}
    assert same_anywhere(objects_below(root), root) == same_anywhere(here, near)


def test_a_host_that_dies_mid_run_costs_nothing(hosts, cluster, tmp_path):
    output, log = tmp_path / "corpus", tmp_path / "job.log"
    settings = [f"corpus.output={output}", "corpus.images=480", "corpus.shard_rows=24"]
    settings += ["corpus.size=96", f"ray.address={SUBNET}.1:6379", "ray.workers=2"]
    with open(log, "w") as told:
        job = start_on(
            hosts[0], told, ROOT, sys.executable, "-m", "jobs", "corpus", *options(*settings)
        )
        while len(list(output.glob("entries/*.json"))) < 2 and job.poll() is None:
            time.sleep(0.02)
        kill_tree(cluster[2])
        assert len(list(output.glob("entries/*.json"))) < 20
        assert job.wait(240) == 0, log.read_text()[-3000:]
    store = Store.open(output, "corpus")
    assert [entry.rows for entry in store.manifest()] == [24] * 20
    assert list(store.problems()) == []
