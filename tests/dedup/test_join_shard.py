"""What Ray's workers index, search and join has the bits of what this process does alone."""

import pyarrow.parquet as pq
import pytest

from jobs.dedup import dedup
from jobs.index import index
from jobs.search import search
from tests.helpers import clustered, scenes
from tests.helpers.files import digests

pytestmark = pytest.mark.ray


def test_an_index_and_its_answers(tmp_path, ray_cluster):
    clustered.synthetic(tmp_path / "embeddings")
    outputs = (f"index.output={tmp_path}/alone", f"search.output={tmp_path}/alone-search")
    for settings in (
        clustered.config(tmp_path, "search.index=true", "ray.workers=2"),
        clustered.config(tmp_path, "search.index=true", *outputs),
    ):
        index(settings)
        search(settings)
    assert digests(tmp_path / "index") == digests(tmp_path / "alone")
    answers = [pq.read_table(tmp_path / n / "results.parquet") for n in ("search", "alone-search")]
    assert answers[0].equals(answers[1])


def test_a_join(tmp_path, ray_cluster):
    scenes.synthetic(tmp_path / "embeddings", shards=2)
    dedup(scenes.config(tmp_path, "ray.workers=2"))
    dedup(scenes.config(tmp_path, f"dedup.output={tmp_path}/alone"))
    assert digests(tmp_path / "dedup") == digests(tmp_path / "alone")
