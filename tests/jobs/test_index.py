"""`sluice index` and `sluice search --index` on a synthetic embedding store."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.index import command, index
from jobs.search import search
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index import build
from pipeline.index.bucket_rows import open_rows, rows_name
from pipeline.index.probes import Work
from pipeline.index.search_index import index_loss, open_index, search_index
from pipeline.search.exact_topk import exact_scores
from tests.helpers.clustered import DIMENSIONS, config, synthetic
from tests.helpers.files import digests

PART = 300  # rows of a part, about: four parts


def found(root):
    table = pq.read_table(root / "results.parquet")
    return {
        query: set(table.filter(pa.compute.equal(table["query_id"], query))["id"].to_pylist())
        for query in table["query_id"].unique().to_pylist()
    }


@pytest.fixture(autouse=True, scope="module")
def several_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PARTITION_ROWS", PART)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("index")
    synthetic(root / "embeddings")
    index(config(root))
    search(config(root, f"search.output={root}/exact"))
    search(config(root, f"search.output={root}/probed", "search.index=true"))
    return root


@pytest.fixture(scope="module")
def opened(done):
    return open_index(done / "index", Store.open(done / "embeddings"), 10, 0.95, 0.95)[0]


def test_every_vector_stands_once_in_its_bucket(done, opened):
    store = Store.open(done / "index", "index")
    assert list(store.problems()) == []
    parts = [open_rows(store, part) for part in range(opened.partitions.parts)]
    assert len(parts) == 4
    embeddings = Store.open(done / "embeddings")
    tables = [embeddings.read(shard) for shard in range(4)]
    assert sorted(np.concatenate([part.ids for part in parts])) == list(range(1000))
    for part in parts:
        for place, bucket in enumerate(part.buckets):
            rows = part.checked_bucket(place)
            vectors = part.checked_vectors(np.arange(rows.start, rows.stop))
            assert (opened.partitions.grid.nearest(vectors, 1)[:, 0] == bucket).all()
            assert (np.diff(part.ids[rows]) > 0).all()
        for row in (0, len(part.ids) - 1):
            there = tables[part.shards[row]].slice(part.rows[row], 1)
            assert there["id"][0].as_py() == part.ids[row]
            assert np.array_equal(embedding_matrix(there["embedding"])[0], part.vectors[row])
    assert not (done / "index" / "partitions").exists()


@pytest.mark.parametrize("work", [Work(1, 10), Work(4, 40), Work(16, 25), Work(16, 1000)])
@pytest.mark.parametrize("count", [1, 70])
def test_the_answer_is_the_exact_best_of_the_candidates(done, opened, work, count):
    """The candidates by their definition: the best codes of the probed buckets and their equals."""
    embeddings = Store.open(done / "embeddings")
    table = pa.concat_tables([embeddings.read(shard, ["id", "embedding"]) for shard in range(4)])
    vectors, ids = embedding_matrix(table["embedding"]), table["id"].to_numpy()
    queries = np.random.default_rng(5).normal(size=(count, DIMENSIONS)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    merged = search_index(in_process, replace(opened, work=work), queries, 10)
    grid, coder = opened.partitions.grid, opened.coder
    buckets = grid.nearest(vectors, 1)[:, 0]
    coarse = coder.queries(queries).astype(int) @ coder.codes(vectors).astype(int).T
    for row, probed in enumerate(grid.nearest(queries, work.probes)):
        inside = np.flatnonzero(np.isin(buckets, probed))
        least = np.sort(coarse[row, inside])[::-1][: work.candidates + 1][-1]
        mine = inside[coarse[row, inside] >= least]
        scores = exact_scores(queries[row : row + 1], vectors[None, mine])[0]
        best = np.lexsort((ids[mine], -scores))[:10]
        assert merged.ids[row, : len(best)].tolist() == ids[mine[best]].tolist()
        assert merged.scores[row, : len(best)].tolist() == scores[best].tolist()
        assert np.isneginf(merged.scores[row, len(best) :]).all()


@pytest.mark.parametrize("grid", ["ivf", "hash"])
def test_the_recall_asked_for_is_reached_with_less_work(done, tmp_path, grid):
    outputs = (f"index.output={tmp_path}/index", f"search.output={tmp_path}/search")
    here = config(done, f"index.grid={grid}", "search.index=true", *outputs)
    index(here)
    search(here)
    truth, answer = found(done / "exact"), found(tmp_path / "search")
    hits = sum(len(truth[query] & answer[query]) for query in truth)
    assert 0.93 <= hits / (10 * len(truth)) <= 1
    loss = pq.read_table(tmp_path / "search" / "results.parquet").schema.metadata[b"loss"].decode()
    probes, candidates = (int(loss.split()[place]) for place in (1, 7))
    assert 1 <= probes <= 16
    assert 10 <= candidates < 1000


def test_nothing_is_promised_for_queries_unlike_the_collection(done, opened):
    """Vectors of a few clusters, and some drawn from nowhere."""
    _, seen = open_index(done / "index", Store.open(done / "embeddings"), 10, 0.95, 0.95)
    vectors = embedding_matrix(Store.open(done / "embeddings").read(0)["embedding"])[:40]
    stray = np.random.default_rng(1).normal(size=(40, DIMENSIONS)).astype(np.float32)
    stray /= np.linalg.norm(stray, axis=1, keepdims=True)
    told = {}
    for name, queries, best in (("own", vectors, 1), ("stray", stray, 0)):
        scores = search_index(in_process, opened, queries, 2).scores[:, best]
        told[name] = index_loss(opened, seen, [f"{name}{n}" for n in range(40)], scores)
    own, other = (re.search(r"void for (\d+) of 40", told[name]) for name in ("own", "stray"))
    assert "recall against brute force" in told["own"]
    assert own is None or int(own[1]) < 10
    assert other
    assert int(other[1]) > 25
    assert "(stray0, " in told["stray"]


def test_tombstoned_images_are_not_found(done, tmp_path):
    shutil.copytree(done / "embeddings", tmp_path / "embeddings")
    gone = sorted(set().union(*found(done / "probed").values()))[:50]
    Store.open(tmp_path / "embeddings").bury(gone)
    search(config(tmp_path, f"index.output={done}/index", "search.index=true"))
    assert not set(gone) & set().union(*found(tmp_path / "search").values())


def test_added_shards_give_the_answers_of_a_rebuild_with_the_same_grid(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    index(config(tmp_path))
    before = digests(tmp_path / "index" / "attached" / "rows")
    grown = config(tmp_path, f"index.grid_from={tmp_path}/index", f"index.output={tmp_path}/whole")
    synthetic(tmp_path / "embeddings")
    with pytest.raises(StoreError, match="does not cover all"):
        search(config(tmp_path, "search.index=true"))
    index(config(tmp_path))
    after = digests(tmp_path / "index" / "attached" / "rows")
    assert before.items() < after.items()
    index(grown)
    answers = []
    for name in ("index", "whole"):
        asked = (f"index.output={tmp_path}/{name}", f"search.output={tmp_path}/by-{name}")
        search(config(tmp_path, "search.index=true", *asked))
        answers.append(pq.read_table(tmp_path / f"by-{name}" / "results.parquet"))
    assert answers[0].equals(answers[1])
    assert answers[0].schema.metadata == answers[1].schema.metadata


def test_a_resumed_index_has_the_same_bytes(done, tmp_path):
    shutil.copytree(done / "index", tmp_path / "index")
    (tmp_path / "index" / "entries" / "000002.json").unlink()
    (tmp_path / "index" / "attached" / "calibration.parquet.json").unlink()
    (tmp_path / "index" / "manifest.json").unlink()
    index(config(done, f"index.output={tmp_path}/index"))
    assert digests(tmp_path / "index") == digests(done / "index")


@pytest.mark.parametrize("column", ["code", "vector", "id"])
def test_a_flipped_bit_is_told_where_a_search_meets_it(done, opened, tmp_path, column):
    shutil.copytree(done / "index", tmp_path / "index")
    store = Store.open(tmp_path / "index")
    rows = open_rows(store, 0)
    values = {"code": rows.codes, "vector": rows.vectors, "id": rows.ids}[column]
    data = bytearray(rows.path.read_bytes())
    data[data.index(values.tobytes()) + 1] ^= 1
    rows.path.write_bytes(data)
    assert any(rows_name(0) in line for line in store.problems())
    damaged = replace(opened, index=store, work=Work(16, 1000))
    queries = np.eye(DIMENSIONS, dtype=np.float32)[:1]
    with pytest.raises(StoreError, match=r"is damaged .*delete it and its \.json, then run"):
        search_index(in_process, damaged, queries, 10)


def test_what_a_run_left_that_ended_once_all_was_gathered_is_removed(done, tmp_path):
    shutil.copytree(done / "index", tmp_path / "index")
    (tmp_path / "index" / "partitions" / "shards").mkdir(parents=True)
    (tmp_path / "index" / "partitions" / "shards" / "000000.parquet").write_bytes(b"sorted")
    index(config(done, f"index.output={tmp_path}/index"))
    assert digests(tmp_path / "index") == digests(done / "index")


def test_a_deeper_search_than_calibrated_is_refused(done):
    with pytest.raises(ConfigError, match=r"index\.calibration_k"):
        search(config(done, "search.index=true", "search.k=11"))


def test_adding_to_no_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no index to add to; leave --add out"):
        command(config(tmp_path, "index.add=true"))
