"""An image is found, asked for and paired whatever its id and key are."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dedup import dedup
from jobs.index import index
from jobs.search import search
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.dedup.results import read_results
from pipeline.search.exact_topk import exact_scores
from tests.helpers.clustered import config

IDS = np.array([-1, 2**63 - 1, 0, -(2**63), 7, -5])
NAMES = ["cat/001.jpg", "most", "nought", "least", "twice", "twice"]


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(1)
    made = rng.normal(size=(6, 8)) + 1.5
    made[5] = made[3]
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def root(tmp_path, vectors):
    store = Store.create(tmp_path / "embeddings", "embeddings", {"model": "made"})
    for shard in range(2):
        rows = slice(3 * shard, 3 * shard + 3)
        sides = {name: pa.array([10] * 3, pa.int32()) for name in ("width", "height")}
        columns = {"id": IDS[rows], "key": NAMES[rows]} | sides
        store.write_shard(shard, pa.table(columns | {"embedding": embedding_column(vectors[rows])}))
    store.finish(2)
    return tmp_path


def brute_force(vectors, place):
    [scores] = exact_scores(vectors[place : place + 1], vectors[None])
    return [number for number in IDS[np.lexsort((IDS, -scores))].tolist() if number != IDS[place]]


def answers(root, vectors, *settings):
    asked = ["id:-1", "id:0", "id:-9223372036854775808", "id:9223372036854775807"]
    queries = f"search.queries=[{', '.join(asked)}]"
    search(config(root, queries, "search.sample_queries=0", "search.k=8", *settings))
    rows = pq.read_table(root / "search" / "results.parquet").to_pylist()
    for text in asked:
        number = int(text[3:])
        mine = [row["id"] for row in rows if row["query_id"] == number]
        yield mine, brute_force(vectors, IDS.tolist().index(number))
    assert {row["id"]: row["key"] for row in rows} == dict(zip(IDS.tolist(), NAMES, strict=True))


def test_answers_are_brute_forces(root, vectors):
    for found, wanted in answers(root, vectors):
        assert found == wanted


def test_an_index_finds_them_too(root, vectors):
    index(config(root, "index.buckets=2", "index.calibration_queries=6"))
    for found, wanted in answers(root, vectors, "search.index=true", "search.recall=0.99"):
        assert found == wanted


def test_pairs_and_groups_name_them(root):
    dedup(config(root, "dedup.similarity=0.999", f"dedup.output={root}/dedup"))
    pairs, groups = read_results(root / "dedup")
    [pair] = pairs.to_pylist()
    assert (pair["a"], pair["b"], pair["a_key"], pair["b_key"]) == (-(2**63), -5, "least", "twice")
    assert [(row["id"], row["key"], row["survivor"]) for row in groups.to_pylist()] == [
        (-(2**63), "least", True),
        (-5, "twice", False),
    ]


def test_an_image_is_asked_for_by_its_key(root):
    few = ("search.sample_queries=0", "search.k=1")
    search(config(root, "search.queries=[cat/001.jpg, id:7, id:-5]", *few))
    rows = pq.read_table(root / "search" / "results.parquet").to_pylist()
    asked = [(row["query"], row["query_id"]) for row in rows]
    assert asked == [("twice (id:7)", 7), ("twice (id:-5)", -5), ("cat/001.jpg", -1)]
    with pytest.raises(InputError, match=r"no such query: dog\.jpg, id:99999999999999999999; give"):
        search(config(root, "search.queries=[dog.jpg, 'id:99999999999999999999']", *few))
    with pytest.raises(InputError, match="twice is the key of id:7, id:-5; name the images by"):
        search(config(root, "search.queries=[twice]", *few))
