import pytest
import ray

from cluster.session import gpu_share
from pipeline.core.errors import ConfigError


@pytest.mark.parametrize(
    ("gpus", "workers"), [(1, 1), (2, 1), (2, 2), (2, 3), (4, 9), (1, 5), (8, 17)]
)
def test_all_workers_fit_on_the_gpus_and_none_lies_on_two(monkeypatch, gpus, workers):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": float(gpus)})
    share = gpu_share(workers)
    assert 0 < share <= 1
    assert gpus * int(1 / share + 1e-9) >= workers


def test_a_cluster_without_gpus_is_told(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(ConfigError, match="no node of the cluster has a GPU"):
        gpu_share(2)
