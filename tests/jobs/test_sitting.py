"""A sitting: Ray only where there is work for it, and what is left behind on the way out."""

import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import pyarrow as pa
import pytest

from jobs.config import SMALL, RayConfig
from jobs.sitting import Sitting, kept_session, one_session, print_more_workers
from pipeline.core import more_workers
from pipeline.core.errors import InputError
from pipeline.core.run_record import read_runs
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import in_process

ALONE = RayConfig(workers=0)


class Stats:
    """Ten rows a shard; shard 3 is unusable."""

    name = "stats"

    def start(self):
        def do(shard):
            if shard == 3:
                raise InputError("3.jpg is unreadable; remove it")
            return shard_stats(shard, 10, time.time())

        return do


def test_a_sittings_answers_and_record(tmp_path):
    with Sitting("embed", 20, ALONE, tmp_path) as sitting:
        rows = pa.concat_tables(sitting.spread(Stats(), [0, 1]))["rows"].to_pylist()
    assert rows == [10, 10]
    [run] = read_runs(tmp_path)
    assert (run.job, run.images, run.workers) == ("embed", 20, 0)
    assert {"start-up of workers", "workers at work", "drain"} <= set(run.seconds)


def test_a_sitting_that_worked_long_enough_tells_what_more_workers_would_do(
    tmp_path, monkeypatch, capsys
):
    def told(least):
        monkeypatch.setattr(more_workers, "WORTH_TELLING", least)
        with Sitting("embed", 20, ALONE, tmp_path) as sitting:
            sitting.fill(Stats(), [0, 1])
        print_more_workers(sitting.record)
        [run] = read_runs(tmp_path)
        assert run.more_workers == sitting.record.more_workers
        return capsys.readouterr().out.splitlines()

    assert told(1e9) == []
    lines = told(0.0)
    assert len(lines) == 2
    assert lines[0].startswith("with 4, 16, 64 workers: ")
    assert "they stop helping at 1 worker" in lines[1]


def test_further_sittings_are_added_also_where_they_broke_off(tmp_path):
    with Sitting("embed", 10, ALONE, tmp_path, further=True) as sitting:
        sitting.fill(Stats(), [0])
    with (
        pytest.raises(InputError, match=r"3\.jpg"),
        Sitting("embed", 20, ALONE, tmp_path, further=True) as sitting,
    ):
        sitting.fill(Stats(), [1, 3])
    assert [run.images for run in read_runs(tmp_path)] == [10, 20]


def test_another_sitting_replaces_the_last_only_if_it_ends_well(tmp_path):
    for images in (10, 20):
        with Sitting("search", images, ALONE, tmp_path) as sitting:
            sitting.fill(Stats(), [0])
    with pytest.raises(InputError), Sitting("search", 30, ALONE, tmp_path) as sitting:
        sitting.fill(Stats(), [3])
    assert [run.images for run in read_runs(tmp_path)] == [20]


def test_what_is_broken_off_has_ended_when_the_sitting_has(tmp_path):
    with Sitting("embed", 20, ALONE, tmp_path, further=True) as sitting:
        tables = sitting.spread(Stats(), [0, 1])
        next(tables)
    assert list(tables) == []
    assert len(read_runs(tmp_path)) == 1


def test_where_nothing_was_to_do_nothing_is_recorded(tmp_path):
    with Sitting("embed", 0, ALONE, tmp_path, further=True) as sitting:
        sitting.fill(Stats(), [])
    assert read_runs(tmp_path) == []


def test_a_gpus_call_stays_here_where_there_are_no_workers():
    with Sitting("search", 1, ALONE) as sitting:
        assert sitting.near_gpu("cuda", lambda: 7) == 7


def test_without_workers_or_work_ray_is_not_imported(tmp_path):
    """In a process of its own, since other tests have imported it here."""
    code = (
        "import sys\n"
        "from jobs.config import RayConfig\n"
        "from tests.jobs.test_sitting import Sitting, Stats, one_session\n"
        "for workers, shards in ((0, [0, 1]), (2, [])):\n"
        "    ray = RayConfig(workers=workers)\n"
        "    with Sitting('embed', 20, ray) as sitting:\n"
        "        sitting.fill(Stats(), shards)\n"
        "with one_session(RayConfig(workers=0)):\n"
        "    assert 'ray' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fewer_cpus_than_workers_are_told_once_and_before_they_start(monkeypatch, capsys):
    from cluster import session

    there = iter([None, 2, 2, 2, None, 8])
    monkeypatch.setattr(session, "cpus", lambda: next(there))
    monkeypatch.setattr(session, "ray_session", lambda *_: nullcontext())
    sixteen = RayConfig(workers=16)
    with one_session(sixteen), one_session(sixteen):
        told = capsys.readouterr().err
    assert told.count("ray.workers is 16, and the cluster has 2 CPUs: 2 workers work") == 1
    next(there)
    with one_session(RayConfig(workers=8)):
        assert capsys.readouterr().err == ""


@pytest.mark.ray
def test_the_workers_that_came_are_recorded(ray_cluster, tmp_path):
    with Sitting("embed", 60, RayConfig(workers=16), tmp_path) as sitting:
        sitting.fill(Stats(), [0, 1, 2, 4, 5, 6])
    [run] = read_runs(tmp_path)
    assert run.workers in (1, 2)


@pytest.mark.ray
def test_a_sitting_uses_the_session_that_is_there_and_leaves_it(ray_cluster):
    import ray  # not above: a process of another test imports this module without Ray

    two = RayConfig(workers=2)
    with one_session(two), Sitting("embed", 20, two) as sitting:
        rows = sum(t["rows"][0].as_py() for t in sitting.spread(Stats(), [0, 1]))
    assert rows == 20
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("ray", "images", "by_ray"),
    [
        (RayConfig(), SMALL, False),
        (RayConfig(), SMALL + 1, True),
        (RayConfig(workers=2), 20, True),
        (RayConfig(address="auto"), 20, True),
    ],
)
def test_a_small_job_is_done_by_processes_unless_workers_are_asked_for(
    monkeypatch, tmp_path, ray, images, by_ray
):
    from cluster import session, shard_map

    asked = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("jobs.config._joined", lambda: False)
    monkeypatch.setattr(session, "ray_session", lambda *_: asked.append("ray") or nullcontext())
    monkeypatch.setattr(session, "cpus", lambda: 2)
    monkeypatch.setattr(shard_map, "map_shards", lambda plan, shards, *_: in_process(plan, shards))
    with kept_session():
        for _ in range(2):  # the second sitting has the first one's workers
            with Sitting("embed", images, ray, tmp_path) as sitting:
                table = pa.concat_tables(sitting.spread(Stats(), [0, 1]))
    here = shard_stats(0, 0, 0.0)["worker"][0].as_py()
    assert bool(asked) == (here in table["worker"].to_pylist()) == by_ray
    [run] = read_runs(tmp_path)
    assert (run.workers > 0, run.in_pool) == (True, by_ray)


def test_a_ray_that_a_sitting_starts_is_kept_until_the_block_ends(monkeypatch):
    from cluster import session, shard_map

    told = []

    @contextmanager
    def started(*_):
        told.append("start")
        yield
        told.append("stop")

    monkeypatch.setattr(session, "ray_session", started)
    monkeypatch.setattr(session, "cpus", lambda: 2)
    monkeypatch.setattr(shard_map, "map_shards", lambda plan, shards, *_: in_process(plan, shards))
    two = RayConfig(workers=2)
    with kept_session():
        with kept_session(), Sitting("embed", 10, two) as sitting:
            list(sitting.spreading(10, here=True)(Stats(), [0]))
            assert told == []
            sitting.fill(Stats(), [1])
        assert told == ["start"]
    assert told == ["start", "stop"]
    with Sitting("embed", 10, two) as sitting:
        sitting.fill(Stats(), [0])
    assert told == ["start", "stop"] * 2
