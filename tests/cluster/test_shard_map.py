import os

import pyarrow as pa
import pytest

from cluster.shard_map import SHARDS_AHEAD, map_shards
from pipeline.core.errors import InputError

pytestmark = pytest.mark.ray


def squares():
    return lambda shard: pa.table({"shard": [shard], "square": [shard**2], "pid": [os.getpid()]})


def test_every_shard_once_whatever_the_workers(ray_cluster):
    for workers in (1, 2):
        table = pa.concat_tables(map_shards(squares, range(7), workers))
        assert sorted(table["square"].to_pylist()) == [n**2 for n in range(7)]
        assert len(set(table["pid"].to_pylist())) <= workers


def test_no_shards_no_work(ray_cluster):
    assert list(map_shards(squares, [], 2)) == []


def test_a_workers_error_is_the_callers(ray_cluster):
    def make():
        def fail(shard):
            if shard == 2:
                raise InputError("photo 7 is unreadable; remove it")
            return pa.table({"shard": [shard]})

        return fail

    with pytest.raises(InputError, match="photo 7 is unreadable"):
        list(map_shards(make, range(4), 2))


@pytest.mark.parametrize("shards", [4, 2 * SHARDS_AHEAD])  # one in flight, and a second
def test_a_killed_worker_is_replaced(ray_cluster, tmp_path, shards):
    def make():
        def die_once(shard):
            marker = tmp_path / "died"
            if shard == 1 and not marker.exists():
                marker.touch()
                os._exit(1)
            return pa.table({"shard": [shard]})

        return die_once

    table = pa.concat_tables(map_shards(make, range(shards), 2))
    assert sorted(table["shard"].to_pylist()) == list(range(shards))
    assert (tmp_path / "died").exists()
