import numpy as np
import pytest

from cluster.lab.nearest_pool import NearestPool

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
