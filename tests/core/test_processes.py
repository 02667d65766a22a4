"""Shards done by processes of this machine: what Ray's workers promise, of a pool that is there."""

import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.core import processes
from pipeline.core.errors import InputError, LostError
from pipeline.core.processes import Processes
from pipeline.core.progress import advance


@dataclass(frozen=True)
class Do:
    """Does what is named ``work`` to each shard, with a folder to leave marks in."""

    work: str
    folder: Path
    name: str = "do"

    def start(self):
        if self.work == "no weights":
            raise InputError("the weights are gone; fetch them again")
        return getattr(self, self.work)

    def square(self, shard):
        return pa.table({"shard": [shard], "square": [shard**2], "pid": [os.getpid()]})

    def fail(self, shard):
        raise InputError(f"photo {shard} is unreadable; remove it")

    def divide(self, shard):
        return 1 // 0

    def die_once(self, shard):
        if shard == 1 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os._exit(1)
        return self.square(shard)

    def die(self, shard):
        os._exit(1)

    def wait(self, shard):
        """Tell three rows, and end once that was heard of."""
        (self.folder / str(os.getpid())).touch()
        advance(0)
        while not (self.folder / "heard").exists():
            time.sleep(0.01)
            advance(3)
        return self.square(shard)


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def two():
    with closing(Processes(2)) as made:
        yield made


def test_every_shard_once_and_the_workers_stay_for_the_next_plan(two, tmp_path):
    tables = [pa.concat_tables(two.spread(Do("square", tmp_path), range(7))) for _ in range(2)]
    pids = {pid for table in tables for pid in table["pid"].to_pylist()}
    assert len(pids) == 2
    for table in tables:
        assert sorted(table["square"].to_pylist()) == [n**2 for n in range(7)]
    assert list(two.spread(Do("die", tmp_path), [])) == []


@pytest.mark.parametrize(
    ("work", "error", "told"),
    [
        ("fail", InputError, "^photo 0 is unreadable; remove it$"),
        ("no weights", InputError, "^the weights are gone; fetch them again$"),
        ("divide", RuntimeError, "ZeroDivisionError"),
    ],
)
def test_what_a_worker_raises_is_raised_here(tmp_path, work, error, told):
    with closing(Processes(1)) as one, pytest.raises(error, match=told):
        list(one.spread(Do(work, tmp_path), [0]))


def test_a_worker_that_dies_is_replaced(two, tmp_path):
    table = pa.concat_tables(two.spread(Do("die_once", tmp_path), range(4)))
    assert sorted(table["shard"].to_pylist()) == [0, 1, 2, 3]
    assert (tmp_path / "died").exists()


def test_one_that_dies_again_and_again_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "RETRIES", 1)
    with closing(Processes(1)) as one, pytest.raises(LostError, match="died again and again"):
        list(one.spread(Do("die", tmp_path), [0]))


def test_an_interpreter_that_cannot_start_is_told_as_that(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "RETRIES", 1)
    monkeypatch.setattr(processes, "MAIN", "import nothing_of_this_name")
    with (
        closing(Processes(1)) as one,
        pytest.raises(LostError, match=r"could be started by .*--workers 0"),
    ):
        list(one.spread(Do("square", tmp_path), [0]))


def test_a_shard_in_hand_is_heard_of_and_one_broken_off_ends(two, tmp_path):
    """The shard waits until it has been heard of: were it not, the test would not end."""
    heard = []

    def hear(shard, rows):
        heard.append((shard, rows))
        (tmp_path / "heard").touch()

    assert [t["shard"][0].as_py() for t in two.spread(Do("wait", tmp_path), [5], hear)] == [5]
    assert heard[0][0] == 5
    assert heard[0][1] > 0
    (tmp_path / "heard").unlink()
    results = two.spread(Do("wait", tmp_path), [0, 1], lambda *_: (tmp_path / "heard").touch())
    next(results)
    results.close()
    assert [path for path in tmp_path.glob("[0-9]*") if is_running(int(path.name))] == []


def test_the_workers_of_a_driver_that_is_killed_end(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from tests.core.test_processes import Do, Processes, closing\n"
        "with closing(Processes(1)) as one:\n"
        "    list(one.spread(Do('wait', pathlib.Path(sys.argv[1])), [0]))\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not (marks := list(tmp_path.iterdir())):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    while is_running(int(marks[0].name)):
        time.sleep(0.05)
