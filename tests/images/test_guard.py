import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from pipeline.core.errors import InputError, LostError
from pipeline.core.store import Store
from pipeline.images.guard import ATTEMPTS, Guard
from pipeline.images.manifest import UNITS
from tests.helpers.command_line import run
from tests.helpers.evil import KILLED_BY_KILLER, KILLER, many_scans

SLOW = 60.0


def batches(data, rows=2):
    table = (
        pa.table({"id": range(len(data)), "key": [f"k{n}" for n in range(len(data))]})
        .append_column("bytes", pa.array(data, pa.binary()))
        .append_column("refused", pa.nulls(len(data), pa.string()))
    )
    return [table.slice(start, rows) for start in range(0, len(data), rows)]


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", "embeddings", {})


@pytest.fixture
def killer(tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(KILLED_BY_KILLER)
    monkeypatch.syspath_prepend(tmp_path / "path")
    return KILLER


def guard(store, seconds=SLOW):
    manifest = UNITS.empty_table()
    return Guard(store, manifest, 0, 32, seconds)


def dies(store, *images, late=None):
    """Leave what an attempt does that dies while it decodes ``images``."""
    attempt = store.attempts.begin(0)
    for image in images:
        attempt.note("begun", image)
        if late:
            attempt.note("late", image, str(late))
    attempt.close()


def told(guarded, tables):
    with guarded:
        return pa.concat_tables(guarded.checked(tables))["refused"].to_pylist()


def test_what_a_quiet_attempt_leaves_goes_with_the_shard(store, jpegs):
    tables = batches(jpegs[:2])
    with guard(store) as quiet:
        assert list(quiet.checked(tables)) == tables
        with quiet.watched(0, "k0"):
            assert (store.root / "attempts" / "000000").exists()
    with store.lock():
        store.write_shard(0, pa.table({"id": [0]}))
        assert list((store.root / "attempts").iterdir()) == []
    assert not (store.root / "attempts").exists()


def test_attempts_at_other_shards_begin_while_one_ends(store):
    def attempt(shard):
        for _ in range(300):
            store.attempts.begin(shard).close()
            store.attempts.forget(shard)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(4)))
    assert store.attempts.shards() == []


def test_of_a_killed_driver_nothing_bad_is_found(store, jpegs):
    dies(store, 1, 2)
    assert told(guard(store), batches([*jpegs[:3], b"no image"])) == [None] * 4


def test_after_one_that_kills_all_that_come_later_are_tried(store, jpegs, killer):
    dies(store, 1)
    images = [jpegs[0], killer, jpegs[1], None, killer, jpegs[2]]
    dead = "kills-its-decoder: signal SIGABRT"
    assert told(guard(store), batches(images)) == [None, dead, None, None, dead, None]
    with store.lock():
        pass  # as a new run does first
    images[1] = images[4] = jpegs[0]  # it is not tried again
    assert told(guard(store), batches(images)) == [None, dead, None, None, dead, None]


def test_after_a_second_death_every_image_is_tried(store, jpegs, killer):
    dies(store)
    assert told(guard(store), batches([killer, jpegs[0]])) == [None, None]
    assert told(guard(store), batches([killer, jpegs[0]])) == [
        "kills-its-decoder: signal SIGABRT",
        None,
    ]


def test_one_that_takes_too_long(store, jpegs):
    dies(store, 0, late=0.3)
    slow = many_scans(3000, 3000)
    found = told(guard(store, 0.3), batches([slow, jpegs[0]]))
    assert found == ["too-slow: takes more than 0.3 s to decode", None]


def test_one_that_is_late_twice_is_not_tried_again(store, jpegs):
    dies(store, 0, late=SLOW)
    dies(store, 0, late=SLOW)
    found = told(guard(store), batches([jpegs[1], jpegs[0]]))
    assert found == ["too-slow: took more than 60 s to decode, twice", None]
    with store.lock():
        pass  # as a new run does first, which may allow an image more time
    assert told(guard(store, 2 * SLOW), batches([jpegs[1], jpegs[0]])) == [None, None]


def test_a_shard_that_dies_again_and_again_is_told(store):
    for _ in range(ATTEMPTS):
        dies(store)
    with pytest.raises(InputError, match=f"shard 0 of .* ended its worker {ATTEMPTS} times"):
        guard(store)
    with store.lock():
        pass  # as a new run does first
    guard(store).open.close()


def test_a_log_that_was_cut_or_spoiled_is_read_as_far_as_it_goes(store, jpegs):
    dies(store, 0)
    with open(store.root / "attempts" / "000000", "ab") as log:
        log.write(b"\xff\x00 refu\nended\nrefused x no\nbegun")
    with store.lock():
        pass  # as a new run does first
    attempt = store.attempts.begin(0)
    assert attempt.past.begun == {0}
    assert (attempt.past.attempts, attempt.past.attempts_now) == (1, 0)
    attempt.close()


HOLDS = """
import sys
from pipeline.images.deadline import Deadline

with Deadline(0.2, lambda image: print("overdue", image, flush=True)) as deadline:
    with deadline.of(3, "quick.jpg"):
        pass
    with deadline.of(7, "slow.jpg"):
        if sys.argv[1] == "lets others":
            import time
            time.sleep(60)
        sum(range(10**13))  # one call of C, which never lets go of Python's lock
"""


@pytest.mark.parametrize("how", ["lets others", "lets nobody"])
def test_a_late_image_ends_the_process(how):
    done = subprocess.run([sys.executable, "-c", HOLDS, how], capture_output=True, text=True)
    if how == "lets nobody":
        assert done.returncode < 0
        return
    assert (done.stdout, done.returncode) == ("overdue 7\n", LostError.exit_code)
    assert done.stderr == (
        "slow.jpg takes more than 0.2 s to decode (embed.seconds_an_image); run the same command "
        "again: it goes on, and tries this image apart\n"
    )


def sign(folder, output, path):
    settings = ["--output", output, "--workers", "0", "--seconds-an-image", "1"]
    command = [sys.executable, "-m", "jobs", "sign", folder, *settings]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_the_same_command_goes_on_past_what_ended_it(tmp_path, jpegs, killer):
    quiet, loud = tmp_path / "quiet", tmp_path / "loud"
    for folder, more in ((quiet, {}), (loud, {"b": many_scans(3000, 3000), "c": killer})):
        folder.mkdir()
        for name, data in ({"a": jpegs[0], "d": jpegs[1]} | more).items():
            (folder / f"{name}.jpg").write_bytes(data)
    ended = sign(loud, tmp_path / "out", tmp_path / "path")
    assert ended.returncode == LostError.exit_code, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("b.jpg takes more than 1 s to decode")
    went_on = sign(loud, tmp_path / "out", tmp_path / "path")
    assert went_on.returncode == 0, went_on.stderr
    run("sign", quiet, "--output", tmp_path / "peace", "--workers", 0)
    store, peace = (Store.open(tmp_path / name, "signatures") for name in ("out", "peace"))
    refused = store.read_quarantine()
    assert refused.select(["key", "reason"]).to_pylist() == [
        {"key": "b.jpg", "reason": "too-slow"},
        {"key": "c.jpg", "reason": "kills-its-decoder"},
    ]
    assert store.read(0).drop(["id"]).equals(peace.read(0).drop(["id"]))
    assert not (store.root / "attempts").exists()
