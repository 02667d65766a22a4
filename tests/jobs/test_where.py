"""`sluice search --where` on a synthetic embedding store."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.index import index
from jobs.search import search
from pipeline.core.errors import ConfigError
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.index import build, search_index
from pipeline.search import passing
from pipeline.search.condition import condition_over
from pipeline.search.exact_topk import exact_scores
from pipeline.search.passing import passing_images
from tests.helpers.clustered import ROWS, SHARDS, config, synthetic

FEW, MANY = "width = 12 and id < 400", "width <> 12 or id > 900"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("where")
    synthetic(root / "embeddings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PARTITION_ROWS", 300)
        index(config(root))
    return root


def asked(done, output, where, *more):
    search(config(done, f"search.output={output}", f"search.where={where}", *more))
    return pq.read_table(output / "results.parquet")


def whole(root):
    store = Store.open(root / "embeddings")
    return pa.concat_tables([store.read(shard) for shard in range(SHARDS)])


def best_of(table, passes, query, k):
    """Brute force: ids and scores of the best of the rows that pass, the query itself apart."""
    ids, vectors = table["id"].to_numpy(), embedding_matrix(table["embedding"])
    mine = np.flatnonzero(passes & (ids != query))
    scores = exact_scores(vectors[ids == query], vectors[None, mine])[0]
    order = np.lexsort((ids[mine], -scores))[:k]
    return ids[mine][order].tolist(), scores[order].tolist()


@pytest.mark.parametrize("where", [FEW, MANY])
def test_a_search_is_exact_over_the_images_that_pass(done, tmp_path, capsys, where):
    results = asked(done, tmp_path, where)
    table = whole(done)
    ids, width = table["id"].to_numpy(), table["width"].to_numpy()
    passes = (width == 12) & (ids < 400) if where == FEW else (width != 12) | (ids > 900)
    for query in results["query_id"].unique().to_pylist():
        mine = results.filter(pa.compute.equal(results["query_id"], query))
        found = (mine["id"].to_pylist(), mine["score"].to_pylist())
        assert found == best_of(table, passes, query, 10)
    told = " ".join(capsys.readouterr().out.split())
    assert f"{passes.sum()} of 1,000 images pass: {where}" in told
    loss = results.schema.metadata[b"loss"].decode()
    assert loss.startswith(f"exact: each of the {passes.sum()} images that pass was compared")


@pytest.mark.parametrize("where", [FEW, MANY])
def test_an_index_compares_all_that_pass_where_their_vectors_are_few(done, tmp_path, where):
    exact = asked(done, tmp_path / "exact", where)
    assert asked(done, tmp_path / "index", where, "search.index=true").equals(
        exact, check_metadata=True
    )


def test_an_index_promises_nothing_of_the_many_that_pass(done, tmp_path, monkeypatch):
    monkeypatch.setattr(search_index, "COMPARED_BYTES", 0)
    exact = asked(done, tmp_path / "exact", MANY)
    found = asked(done, tmp_path / "index", MANY, "search.index=true")
    table = whole(done)
    those = table.filter((pa.compute.field("width") != 12) | (pa.compute.field("id") > 900))
    assert set(found["id"].to_pylist()) <= set(those["id"].to_pylist())
    truth, mine = (
        set(zip(part["query_id"].to_pylist(), part["id"].to_pylist(), strict=True))
        for part in (exact, found)
    )
    assert len(truth & mine) > 0.9 * len(truth)
    loss = found.schema.metadata[b"loss"].decode()
    assert f"candidates among the {those.num_rows} images that pass: recall is not known" in loss
    assert "at least" not in loss


def test_what_passes_far_from_the_query_is_found_by_an_index(done, tmp_path, monkeypatch):
    monkeypatch.setattr(search_index, "COMPARED_BYTES", 0)
    table = whole(done)
    ids, vectors = table["id"].to_numpy(), embedding_matrix(table["embedding"])
    scores = exact_scores(vectors[ids == 7], vectors[None])[0]
    far = sorted(ids[np.argsort(scores)[:500]].tolist())
    queries = ("search.queries=['id:7']", "search.sample_queries=3", "search.index=true")
    found = asked(done, tmp_path, f"id in ({', '.join(map(str, far))})", *queries)
    assert set(found["id"].to_pylist()) <= set(far)
    mine = found.filter(pa.compute.equal(found["query_id"], 7))["id"].to_pylist()
    truth = best_of(table, np.isin(ids, far), 7, 10)[0]
    assert len(mine) == 10
    assert len(set(mine) & set(truth)) >= 8


@pytest.mark.parametrize("indexed", ["true", "false"])
def test_where_none_passes_that_is_said_and_the_results_are_empty(done, tmp_path, capsys, indexed):
    results = asked(done, tmp_path, "key = 'nothing'", f"search.index={indexed}")
    assert results.num_rows == 0
    assert results.column_names == ["query", "query_id", "rank", "id", "key", "score"]
    told = " ".join(capsys.readouterr().out.split())
    assert "0 of 1,000 images pass: key = 'nothing'" in told
    assert "no image passes, so none was compared" in told


def test_a_wrong_condition_is_told_before_anything_is_done(done, tmp_path):
    with pytest.raises(ConfigError, match=r"no column size; .* columns id, key, width, height"):
        asked(done, tmp_path / "search", "size > 3")
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("indexed", ["true", "false"])
def test_tombstoned_images_do_not_pass(done, tmp_path, indexed):
    shutil.copytree(done / "embeddings", tmp_path / "embeddings")
    gone = list(range(0, 1000, 3))
    Store.open(tmp_path / "embeddings").bury(gone)
    output = tmp_path / "search"
    more = (f"index.output={done}/index", f"search.index={indexed}")
    found = asked(tmp_path, output, FEW, *more)
    table = whole(tmp_path)
    assert table.num_rows == 666
    passes = (table["width"].to_numpy() == 12) & (table["id"].to_numpy() < 400)
    for query in found["query_id"].unique().to_pylist():
        mine = found.filter(pa.compute.equal(found["query_id"], query))["id"].to_pylist()
        assert mine == best_of(table, passes, query, 10)[0]


def test_a_column_of_some_shards_is_null_in_the_others(tmp_path):
    store = Store.create(tmp_path / "embeddings", "embeddings", {"model": "two files"})
    vectors = embedding_column(np.eye(4, dtype=np.float32))
    for shard, more in enumerate(({}, {"label": ["cat", "dog", "cat", None]})):
        ids = [4 * shard + row for row in range(4)]
        columns = {"id": ids, "key": list(map(str, ids)), "embedding": vectors}
        store.write_shard(shard, pa.table(columns | more))
    store.finish(2)
    found = asked(tmp_path, tmp_path / "search", "label = 'cat'", "search.queries=['1']")
    assert set(found["id"].to_pylist()) == {4, 6}
    with pytest.raises(ConfigError, match="columns id, key, label"):
        asked(tmp_path, tmp_path / "search", "colour = 'red'")


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_a_bit_is_kept_for_each_row_of_each_shard(done, monkeypatch, at_once):
    monkeypatch.setattr(passing, "SHARDS_AT_ONCE", at_once)
    store = Store.open(done / "embeddings")
    condition = condition_over("id % 3 = 1 or id = 7", store.schema())
    shuffled = passing_images(lambda plan, s: in_process(plan, s[::-1]), store, condition)
    for shard in range(SHARDS):
        ids = store.read(shard)["id"].to_numpy()
        assert shuffled.rows(shard, ROWS).tolist() == ((ids % 3 == 1) | (ids == 7)).tolist()
    assert shuffled.images == 333
    alone = condition_over("id = 251", store.schema())
    assert passing_images(in_process, store, alone).shards == [1]
