import numpy as np
import pytest

from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index.ivf import train_ivf
from pipeline.index.shard_indexer import IndexPlan
from pipeline.lab.resident_index import ResidentIndex
from pipeline.lab.synthetic_vectors import (
    SyntheticPlan,
    SyntheticSettings,
    synthetic_queries,
    synthetic_table,
)
from pipeline.search.exact_topk import exact_scores

SETTINGS = SyntheticSettings(rows=1500, shard_rows=400, dimensions=48, clusters=30)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("resident")
    make = SyntheticPlan(root / "embeddings", SETTINGS).start()
    assert [make(shard)["rows"][0].as_py() for shard in range(4)] == [400, 400, 400, 300]
    embeddings = Store.open(root / "embeddings")
    embeddings.finish(4)
    vectors = np.concatenate([embedding_matrix(embeddings.read(s)["embedding"]) for s in range(4)])
    grid = train_ivf(vectors, 20, 0)
    store = Store.create(root / "index", "index", {})
    grid.attach(store)
    place = IndexPlan(root / "embeddings", root / "index", grid, "int8").start()
    for shard in range(4):
        place(shard)
    store.finish(4)
    return ResidentIndex(store, embeddings), vectors


@pytest.mark.parametrize("probes", [1, 4, 20])
@pytest.mark.parametrize("count", [1, 40])
def test_the_answer_is_the_exact_top_k_of_the_probed_buckets(index, probes, count):
    resident, vectors = index
    queries = synthetic_queries(SETTINGS, 40)[:count]
    merged = resident.search(queries, 10, probes)
    nearest = resident.grid.nearest(queries, probes)
    buckets = resident.grid.nearest(vectors, 1)[:, 0]
    for row, query in enumerate(queries):
        ids = np.flatnonzero(np.isin(buckets, nearest[row]))
        scores = exact_scores(query[None], vectors[None, ids])[0]
        order = np.lexsort((ids, -scores))[:10]
        there = len(order)
        assert merged.ids[row, :there].tolist() == ids[order].tolist()
        assert merged.scores[row, :there].tolist() == scores[order].tolist()


def test_planted_copies_lie_near_their_originals(index):
    _, vectors = index
    tables = [synthetic_table(SETTINGS, shard) for shard in range(4)]
    ids, scenes = (np.concatenate([t[n].to_numpy() for t in tables]) for n in ("id", "scene"))
    copies = ids != scenes
    assert copies.sum() == 40 * 3 + 30
    near = (vectors[ids[copies]] * vectors[scenes[copies]]).sum(axis=1)
    assert near.min() > 0.93
