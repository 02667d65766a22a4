"""What outputs on an object store cost, and what is left where everything goes wrong."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.console import print_table
from jobs.corpus import make_corpus
from jobs.embed import embed
from pipeline.core.files import checksum
from pipeline.core.folder import place
from pipeline.core.objects import ObjectPath
from pipeline.core.run_record import read_runs
from pipeline.core.store import Store
from pipeline.dedup.acting import DONE, act, put_back, steps_of
from pipeline.embedding.encoder import Encoder
from tests.helpers.all_jobs import ALL, left_by, settings
from tests.helpers.object_store import object_store, objects_below

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).parents[2]
SIZES = ((500, 500), (2000, 500), (2000, 2000))  # images, and images a shard
PUT_DOLLARS, GET_DOLLARS = 0.005, 0.0004  # a thousand, as S3's list said for us-east-1 in 2025
RACES = 200
KILLS = 12
POINTS = 100
LATENCY = 0.03  # seconds a request
A_NETWORK = 0.01  # seconds an image


@pytest.fixture(scope="module")
def server():
    with object_store() as server:
        yield server


def spent(server):
    """Requests paid as puts, those paid as gets, bytes to and fro, objects and bytes there."""
    asked = server.asked.requests
    puts = sum(asked.get(method, 0) for method in ("PUT", "POST", "LIST"))
    gets, to_and_fro = asked.get("GET", 0) + asked.get("HEAD", 0), server.asked.bytes
    there = [facts.st_size for _, facts in place("s3://bucket").below()]
    return np.array([puts, gets, to_and_fro, len(there), sum(there)])


def test_requests_and_bytes_by_job(server):
    """Requests grow with the shards and not with the images, bytes with the images."""
    asked = {}
    for images, shard in SIZES:
        root = place(f"s3://bucket/cost-{images}-{shard}")
        few = (f"corpus.images={images}", "dedup.similarity=0.8", f"corpus.shard_rows={shard}")
        few += (f"source.shard_rows={shard}", "calibrate.fit_images=100", "corpus.copies=8")
        for job in ALL:
            before = spent(server)
            job(settings(root, *few))
            lists = np.array([1, 0, 0, 0, 0])  # of the first telling
            asked[job.__name__, images, shard] = spent(server) - before - lists
    rows = [(job, images, shard, *told.tolist()) for (job, images, shard), told in asked.items()]
    header = ("job", "images", "images a shard", "as puts", "as gets", "bytes", "objects", "kept")
    print_table("asked of the object store", header, rows)
    _print_billion(asked)
    for job in ("make_corpus", "embed", "search", "sign"):
        small, more, larger = (asked[job, *size][:2].sum() for size in SIZES)
        assert more - small < 3 * 40  # three shards more
        assert abs(larger - small) < 20  # as many shards, each four times as large


def _print_billion(asked):
    """Extrapolate: requests by the shard, bytes by the image, to 200,000 shards of 5,000 images."""
    (few, shard), (many, _), _ = SIZES
    rows, shards = [], (many - few) // shard
    for job in ALL:
        more = asked[job.__name__, many, shard] - asked[job.__name__, few, shard]
        puts, gets = more[:2] / shards * 200_000
        dollars = puts / 1000 * PUT_DOLLARS + gets / 1000 * GET_DOLLARS
        passed, kept = more[[2, 4]] / (many - few) / 1000
        objects = more[3] / shards * 200_000
        told = (f"{n:,.0f}" for n in (puts, gets, objects))
        rows.append((job.__name__, *told, f"{passed:,.1f}", f"{kept:,.1f}", f"{dollars:.2f}"))
    header = ("job", "as puts", "as gets", "objects", "TB to and fro", "TB kept", "dollars")
    print_table("a billion images, extrapolated", header, rows)


def waiting_network(encoder):
    def encode(pixels):
        time.sleep(A_NETWORK * len(pixels))
        return np.ones((len(pixels), encoder.dimensions), np.float32)

    return encode


def test_embedding_at_a_distance(server, tmp_path, monkeypatch):
    """The ratio of an embedding at LATENCY a request to one in folders, by turns.

    Of the whole job, and of its workers from their first shard's begin to the last one's end. The
    network waits for A_NETWORK an image and computes nothing: what else this machine does would
    decide otherwise.
    """
    monkeypatch.setattr(Encoder, "start", waiting_network)
    few = ("corpus.images=1200", "corpus.size=160", "embed.input_size=128", "embed.batch_size=16")
    few += ("source.shard_rows=200", "corpus.shard_rows=200", "corpus.copies=8")
    far, near = place("s3://bucket/far"), tmp_path
    for root in (far, near):
        make_corpus(settings(root, *few))
    rows = []
    for turn in range(4):
        seconds = []
        for root in (near, far):
            server.asked.latency = LATENCY if root == far else 0.0
            output, began = root / f"embeddings-{turn}", time.perf_counter()
            embed(settings(root, *few, f"embed.output={output}"))
            whole = time.perf_counter() - began
            seconds += [whole, read_runs(output)[-1].seconds["workers at work"]]
            server.asked.latency = 0.0
        near_whole, near_work, far_whole, far_work = seconds
        rows.append((turn, *seconds, near_whole / far_whole, near_work / far_work))
    header = (
        "turn",
        "folders, s",
        "its workers, s",
        "far, s",
        "its workers, s",
        "ratio",
        "workers",
    )
    print_table(f"embedding at {LATENCY:g} s a request", header, rows[1:])


def test_races_of_two_drivers_have_one_winner(server):
    """Two put the same name at once, with what each has read: one is told that it came second."""
    with ThreadPoolExecutor(2) as pool:
        for race in range(RACES):
            path = place(f"s3://bucket/races/{race}")
            first = list(pool.map(path.put, (b"a", b"b")))
            assert first.count(True) == 1
            version = path.read_tagged()[1]
            second = list(pool.map(path.put, (b"c", b"d"), (version, version)))
            assert second.count(True) == 1
            assert path.read_bytes() == (b"c", b"d")[second.index(True)]


def test_every_job_at_a_server_that_fails_leaves_the_same(server, tmp_path):
    with server.failing(0.1):
        far = left_by(ALL, place("s3://bucket/all-failing"))
    assert far == left_by(ALL, tmp_path)


class KilledAt:
    """Lets ``left`` requests pass; of all later ones none, but the first perhaps does its work."""

    def __init__(self, left, does):
        self.left, self.does, self.asked = left, does, ObjectPath._asked
        self.one = threading.Lock()

    def __call__(self, path, ask):
        with self.one:
            self.left -= 1
            passes, last = self.left >= 0, self.left == -1
        if last and self.does:
            self.asked(path, ask)
        if not passes:
            raise Killed
        return self.asked(path, ask)


class Killed(BaseException):
    """Stands for the end of a process."""


def copies_of(folder):
    """Groups of three below ``folder``: one kept, a twin of its bytes, a near copy."""
    rows = []
    for number in range(2):
        for at, data in enumerate((b"kept %d", b"kept %d", b"another %d")):
            path = folder / f"{number}" / f"{at}.jpg"
            path.put(data % number)
            facts = {"path": str(path), "bytes": 6, "checksum": checksum(data % number)}
            facts |= {"key": f"{number}/{at}.jpg", "pages": 1}
            rows.append(facts | {"group": number, "id": 3 * number + at, "survivor": at == 0})
    return pa.Table.from_pylist(rows)


def begun_and_killed(monkeypatch, work, point, does):
    """Return whether ``work`` was killed at its request number ``point``."""
    with monkeypatch.context() as patch, suppress(Killed):
        killing = KilledAt(point, does)
        patch.setattr(ObjectPath, "_asked", lambda path, ask: killing(path, ask))
        work()
        return False
    return True


def test_apply_and_undo_killed_anywhere_lose_nothing(server, monkeypatch):
    """POINTS times: applied and killed, half the time again, undone and killed, and undone."""
    photos, moved = place("s3://bucket/to-apply/photos"), place("s3://bucket/to-apply/moved")
    steps, chance, killed = steps_of(copies_of(photos), moved), random.Random(5), 0
    before = objects_below(photos)
    for _ in range(POINTS):
        for work in (act, put_back):
            point, does = chance.randrange(60), chance.random() < 0.5
            killed += begun_and_killed(monkeypatch, partial(work, steps, "move"), point, does)
            there = [*objects_below(photos).values(), *objects_below(moved).values()]
            assert set(there) == set(before.values())
            if work is act and chance.random() < 0.5:
                assert act(steps, "move").counts == {DONE: 4}
        assert put_back(steps, "move").counts == {DONE: 4}
        assert (objects_below(photos), objects_below(moved)) == (before, {})
    assert killed > POINTS / 2


def test_a_driver_killed_again_and_again_leaves_the_same(server, tmp_path):
    root, few = place("s3://bucket/killed"), ("corpus.images=400", "corpus.shard_rows=8")
    command = [sys.executable, "-m", "jobs", "corpus", "--set", "ray.workers=0"]
    for text in (*few, "corpus.size=64", "corpus.copies=2", f"corpus.output={root}/corpus"):
        command += ["--set", text]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    chance = random.Random(3)
    for _ in range(KILLS):
        job = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(2.0, 6.0))
        job.send_signal(signal.SIGKILL)
        job.wait()
    left_by([make_corpus], root, *few)
    assert list(Store.open(root / "corpus").problems()) == []
    assert left_by([], root) == left_by([make_corpus], tmp_path, *few)
