import os
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from cluster.gpu_call import call_on_worker
from jobs import sitting
from jobs.config import RayConfig
from jobs.sitting import Sitting
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.embedding import stored
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.search import queries


@pytest.fixture
def no_gpu_here(monkeypatch):
    monkeypatch.setattr(sitting, "_has_cuda", lambda: False)


@pytest.mark.ray
def test_a_worker_does_it_and_its_mistakes_are_told_as_they_are(ray_cluster):
    def refuse():
        raise InputError("cat.jpg is no image; name another")

    assert call_on_worker(lambda: os.getpid(), 0.0) != os.getpid()
    with pytest.raises(InputError, match=r"^cat\.jpg is no image; name another$"):
        call_on_worker(refuse, 0.0)
    with pytest.raises(ray.exceptions.RayTaskError, match="ZeroDivisionError"):
        call_on_worker(lambda: 1 // 0, 0.0)


@pytest.mark.ray
def test_only_a_gpus_work_leaves_the_process(ray_cluster, no_gpu_here, monkeypatch):
    with Sitting("search", 1, RayConfig(workers=2)) as near:
        assert near.near_gpu("openvino", os.getpid) == os.getpid()
        assert near.near_gpu("cuda", os.getpid) != os.getpid()
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
        with pytest.raises(ConfigError, match="no node of the cluster has a GPU"):
            near.near_gpu("cuda", os.getpid)


@pytest.mark.ray
def test_query_images_of_a_gpus_store_are_embedded_by_a_worker(
    ray_cluster, no_gpu_here, monkeypatch, tmp_path, jpegs
):
    """The worker stands in for one with a GPU: it embeds by torch on its CPU."""
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "cuda", "f32", 64, 4)
    on_cpu = build_encoder(EncoderSettings("efficientnet_lite0", weights, "torch", "f32", 64, 4))
    Store.create(tmp_path / "store", "embeddings", embedding_identity(settings))
    driver = os.getpid()

    def stand_in(store, weights):
        def start():
            assert os.getpid() != driver
            return on_cpu.start()

        return SimpleNamespace(settings=settings, start=start)

    monkeypatch.setattr(stored, "query_encoder", stand_in)
    store, texts = Store.open(tmp_path / "store"), (str(tmp_path / "a.jpg"),)
    with Sitting("search", 1, RayConfig(workers=2)) as near:
        found = queries.gather_queries(store, texts, 0, None, near.near_gpu)
    assert found.vectors.shape == (1, 1280)
    assert np.linalg.norm(found.vectors[0]) == pytest.approx(1, abs=1e-5)
