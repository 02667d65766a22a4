"""What Ray's workers index, search and join has the bits of what this process does alone."""

from contextlib import nullcontext

import pyarrow.parquet as pq
import pytest

from jobs.dedup import dedup
from jobs.index import index
from jobs.search import search
from tests.jobs.test_dedup import config as dedup_config
from tests.jobs.test_dedup import synthetic as scenes
from tests.jobs.test_index import config, digests, synthetic

pytestmark = pytest.mark.ray


def test_an_index_and_its_answers(tmp_path, ray_cluster):
    synthetic(tmp_path / "embeddings")
    two = "ray.workers=2"
    index(config(tmp_path, two))
    search(config(tmp_path, two, "search.index=true"))
    alone = (f"index.output={tmp_path}/alone", f"search.output={tmp_path}/alone-search")
    index(config(tmp_path, *alone))
    search(config(tmp_path, "search.index=true", *alone))
    assert digests(tmp_path / "index") == digests(tmp_path / "alone")
    answers = [pq.read_table(tmp_path / n / "results.parquet") for n in ("search", "alone-search")]
    assert answers[0].equals(answers[1])


def test_a_join(tmp_path, ray_cluster, monkeypatch):
    scenes(tmp_path / "embeddings", shards=2)
    dedup(dedup_config(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("jobs.dedup.ray_session", lambda *_: nullcontext())
        patch.setattr("jobs.dedup.map_shards", lambda plan, shards, _: map(plan.start(), shards))
        dedup(dedup_config(tmp_path, f"dedup.output={tmp_path}/alone"))
    assert digests(tmp_path / "dedup") == digests(tmp_path / "alone")
