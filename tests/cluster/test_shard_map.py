import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import psutil
import pyarrow as pa
import pytest
import ray

from cluster import session
from cluster.lost import told_if_lost
from cluster.shard_map import SHARDS_AHEAD, map_shards
from cluster.tally import Tally, listening, teller
from pipeline.core.errors import InputError, LostError
from pipeline.core.progress import advance

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Do:
    """A plan that does ``work`` to each shard's number."""

    work: Callable
    name: str = "do"

    def start(self):
        return self.work


def square(shard):
    return pa.table({"shard": [shard], "square": [shard**2], "pid": [os.getpid()]})


def seen_gpus(shard):
    return pa.table({"shard": [shard], "gpus": [os.environ["CUDA_VISIBLE_DEVICES"]]})


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_every_shard_once_whatever_the_workers(ray_cluster):
    for workers in (1, 2):
        table = pa.concat_tables(map_shards(Do(square), range(7), workers))
        assert sorted(table["square"].to_pylist()) == [n**2 for n in range(7)]
        assert len(set(table["pid"].to_pylist())) <= workers


def test_workers_that_share_a_gpu(ray_cluster):
    found = pa.concat_tables(map_shards(Do(seen_gpus), range(4), 2, session.gpu_share(2)))
    assert sorted(found["shard"].to_pylist()) == [0, 1, 2, 3]
    assert set(found["gpus"].to_pylist()) == {"0"}


class InPairs:
    """A plan of which a shard ends only while another one of the same worker is in hand."""

    name = "in pairs"
    in_hand = 2

    def start(self):
        met = threading.Barrier(2, timeout=30)

        def meet(shard):
            met.wait()
            return pa.table({"shard": [shard]})

        return meet


def test_a_worker_has_as_many_shards_in_hand_as_its_plan_says(ray_cluster):
    table = pa.concat_tables(map_shards(InPairs(), range(2 * SHARDS_AHEAD), 1))
    assert sorted(table["shard"].to_pylist()) == list(range(2 * SHARDS_AHEAD))


def test_no_shards_no_work(ray_cluster):
    assert list(map_shards(Do(square), [], 2)) == []


def test_a_workers_error_is_the_callers(ray_cluster):
    def fail(shard):
        if shard == 2:
            raise InputError("photo 7 is unreadable; remove it")
        return pa.table({"shard": [shard]})

    with pytest.raises(InputError, match=r"^photo 7 is unreadable; remove it$"):
        list(map_shards(Do(fail), range(4), 2))


def test_a_plan_that_cannot_start_is_told(ray_cluster):
    class NoWeights(Do):
        def start(self):
            raise InputError("the weights are gone; fetch them again")

    with pytest.raises(InputError, match=r"^the weights are gone; fetch them again$"):
        list(map_shards(NoWeights(square), range(4), 2))


def test_what_is_no_users_mistake_is_rays_error(ray_cluster):
    with pytest.raises(ray.exceptions.RayTaskError, match="ZeroDivisionError"):
        list(map_shards(Do(lambda shard: 1 // 0), range(2), 1))


@pytest.mark.parametrize("shards", [4, 2 * SHARDS_AHEAD])  # one in flight, and a second
def test_a_killed_worker_is_replaced(ray_cluster, tmp_path, shards):
    def die_once(shard):
        marker = tmp_path / "died"
        if shard == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        return pa.table({"shard": [shard]})

    table = pa.concat_tables(map_shards(Do(die_once), range(shards), 2))
    assert sorted(table["shard"].to_pylist()) == list(range(shards))
    assert (tmp_path / "died").exists()


def test_a_worker_that_dies_again_and_again_is_a_line(ray_cluster, monkeypatch):
    monkeypatch.setattr("cluster.shard_map.RETRIES", 1)
    with pytest.raises(LostError, match="died again and again"), told_if_lost():
        list(map_shards(Do(lambda shard: os._exit(1)), range(2), 1))


def test_more_workers_than_there_are_cpus(ray_cluster):
    table = pa.concat_tables(map_shards(Do(square), range(9), 5))
    assert sorted(table["shard"].to_pylist()) == list(range(9))
    assert len(set(table["pid"].to_pylist())) <= 2


def test_broken_off_the_workers_are_gone(ray_cluster, tmp_path):
    def hang(shard):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(600 * shard)
        return pa.table({"shard": [shard]})

    results = map_shards(Do(hang), range(4), 2)
    next(results)
    results.close()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert workers
    assert [worker for worker in workers if is_running(worker)] == []


def test_the_driver_hears_of_a_shard_before_it_is_done(ray_cluster, tmp_path):
    """The shard waits until it has been heard of: were it not, the test would not end."""

    def wait_for_it(shard):
        advance(3)
        while not (tmp_path / "heard").exists():
            time.sleep(0.01)
        return pa.table({"shard": [shard]})

    heard = []

    def hear(shard, rows):
        heard.append((shard, rows))
        (tmp_path / "heard").touch()

    assert len(list(map_shards(Do(wait_for_it), [5], 1, heard=hear))) == 1
    assert set(heard) == {(5, 3)}


def test_a_lost_tally_loses_nothing(ray_cluster):
    class Lost(Tally):
        def tell(self, shard, rows):
            os._exit(1)

    tally = ray.remote(num_cpus=0)(Lost).remote()
    for shard in range(3):
        teller(tally)(shard, 1)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(tally.take.remote())
    teller(tally)(3, 1)


def test_a_tally_ends_with_those_who_listen_to_it(ray_cluster):
    with listening(lambda shard, rows: None) as tally:
        assert ray.get(tally.take.remote()) == {}
    answers = (ray.get(tally.take.remote()) for _ in iter(lambda: time.sleep(0.1), 0))
    with pytest.raises(ray.exceptions.RayActorError):
        list(islice(answers, 100))  # Ray kills it in its own time
