import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.lab.nearest_pool import NearestPool, nearest_alone, random_points
from tests.helpers.command_line import run

pytestmark = pytest.mark.ray


def test_any_workers_find_the_closest_point_and_say_what_took_the_time(ray_cluster):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for workers in (1, 2):
        pool = NearestPool(vectors, workers)
        answer = pool.ask(vectors[123:124])
        pool.close()
        assert answer.merged.ids.tolist() == [[123]]
        assert answer.merged.certified.tolist() == [True]
        parts = (answer.scheduling, answer.slowest_shard, answer.merge)
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(answer.latency)


def test_without_ray_there_is_nothing_to_wait_for():
    queries, points = random_points(3, 50, 8)
    assert (queries.shape, points.shape) == ((3, 1, 8), (50, 8))
    alone = nearest_alone(points, queries)
    assert alone["workers"] == alone["scheduling"] == alone["merge"] == 0
    assert alone["latency"] == alone["slowest_shard"] > 0


def test_the_command_leaves_a_row_a_worker_count(ray_cluster, tmp_path):
    sizes = ["--points", "200", "--dimensions", "8", "--queries", "3"]
    flags = [*sizes, "--workers", "1", "--workers", "2", "--output", str(tmp_path)]
    ran = run("bench", "nearest", *flags)
    assert ran.exception is None, ran.output
    rows = pq.read_table(tmp_path / "nearest.parquet").to_pylist()
    assert [row["workers"] for row in rows] == [0, 1, 2]
    assert all(row["latency"] > row["slowest_shard"] for row in rows[1:])
    timed = ("latency", "share", "floor", "merge")
    assert all(row[f"{n}_low"] <= row[n] <= row[f"{n}_high"] for row in rows for n in timed)
    assert rows[0]["floor"] == rows[0]["merge"] == 0
