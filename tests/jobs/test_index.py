"""`sluice index` and `sluice search --index` on a synthetic embedding store."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.index import command, index
from jobs.search import search
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.files import FORMAT_VERSION, sealed
from pipeline.core.header import read_header
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.index import build
from pipeline.index.bucket_rows import open_rows, rows_name
from pipeline.index.coarse_codes import unpacked
from pipeline.index.probes import Work
from pipeline.index.scan import scan
from pipeline.index.search_index import (
    compared_with_everything,
    index_loss,
    open_index,
    search_index,
    unlike_queries,
)
from pipeline.search.answers import without_self
from pipeline.search.batches import search_everything
from pipeline.search.exact_topk import exact_scores
from pipeline.search.queries import Queries, stored_queries
from tests.helpers.clustered import DIMENSIONS, config, synthetic
from tests.helpers.files import digests

# What half of a cold search would wait for: decoders, networks, file systems, other commands.
NEEDLESS = (
    *("ray", "torch", "openvino", "faiss", "scipy", "sklearn", "pandas", "duckdb", "cv2", "PIL"),
    *("fsspec", "obstore", "tenacity", "filelock", "pyarrow.dataset"),
    *("webbrowser", "jobs.lab.config", "pipeline.images.decode", "pipeline.embedding.encoder"),
)
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
    return open_index(done / "index", Store.open(done / "embeddings"), 10, 0.95, 0.95)


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
    coarse = (
        coder.queries(queries).astype(int)
        @ unpacked(coder.codes(vectors), coder.bits).astype(int).T
    )
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


def stray_queries(count):
    """Vectors drawn from nowhere, where the collection has a few clusters."""
    stray = np.random.default_rng(1).normal(size=(count, DIMENSIONS)).astype(np.float32)
    stray /= np.linalg.norm(stray, axis=1, keepdims=True)
    names, no_ids = [f"stray{number}" for number in range(count)], np.zeros(count, np.int64)
    return Queries(names, no_ids, np.zeros(count, np.bool_), stray)


def test_queries_unlike_the_collection_are_compared_with_everything(done):
    """More than a part holds them all; a few images are gone."""
    store = Store.open(done / "embeddings")
    opened = open_index(done / "index", store, 10, 0.95, 0.95)
    opened = replace(opened, work=Work(1, 10))  # no more than a bucket
    own, stray = stored_queries(store, list(range(40))), stray_queries(40)
    record = RunRecord("test", 0, 0)
    for queries, few, many in ((own, 0, 4), (stray, 25, 40)):
        merged = search_index(in_process, opened, queries.vectors, 11)
        apart = unlike_queries(opened, queries, merged)
        assert few <= apart.sum() <= many
        mended = compared_with_everything(
            in_process, opened, queries.vectors, merged, apart, record
        )
        truth = search_everything(in_process, store, queries, 11, record)
        for name in ("ids", "scores", "shards"):
            exact, found, was = (getattr(m, name) for m in (truth, mended, merged))
            assert np.array_equal(exact[apart], found[apart])
            assert np.array_equal(was[~apart], found[~apart])
        told = index_loss(opened, queries.keys, apart)
        assert ("recall against brute force" in told) == (not apart.all())
        assert (f"; {apart.sum()} of 40 queries (" in told) == (0 < apart.sum() < 40)
    everywhere = np.ones(40, np.bool_)
    told = index_loss(opened, stray.keys, everywhere)
    assert ": 40 of 40 queries (stray0, stray1, stray2, stray3, stray4 and 35 more), less " in told
    assert told.endswith("were compared with everything: nothing is lost for them")


def test_no_recall_is_promised_once_many_images_left_and_no_results_lack(done, tmp_path):
    for name in ("embeddings", "index"):
        shutil.copytree(done / name, tmp_path / name)
    store = Store.open(tmp_path / "embeddings")
    store.bury(list(range(15, 1000)))
    opened = replace(open_index(done / "index", store, 10, 0.95, 0.95), work=Work(2, 10))
    queries, record = stored_queries(store, list(range(15))), RunRecord("test", 0, 0)
    merged = search_index(in_process, opened, queries.vectors, 11)
    lacking = unlike_queries(opened, queries, merged)
    assert lacking.any()
    asked = (in_process, opened, queries.vectors, merged, lacking, record)
    _, scores = without_self(queries, compared_with_everything(*asked), 10)
    assert ((scores > -np.inf).sum(axis=1) == 10).all()
    told = index_loss(opened, queries.keys, np.zeros(15, np.bool_))
    assert "recall is not known: 985 of the 1,000 images it was measured among have left" in told
    for gone in (15, 985):
        store.bury(list(range(1000 - gone, 1000)))
        index(config(tmp_path))
        among = open_index(tmp_path / "index", store, 10, 0.95, 0.95).measured_among
        assert among == (1000 if gone == 15 else 15)
    again = open_index(tmp_path / "index", store, 10, 0.95, 0.95)
    assert again.exact


@pytest.mark.parametrize("row", [0, 100])  # in the sample that trains, or not
def test_a_vector_that_is_no_number_is_told_by_its_shard(tmp_path, row):
    vectors = np.eye(200, dtype=np.float32)
    vectors[row, 3] = np.nan
    store = Store.create(tmp_path / "embeddings", "embeddings", {"model": "none"})
    ids = np.arange(200)
    columns = {"id": ids, "key": list(map(str, ids)), "embedding": embedding_column(vectors)}
    store.write_shard(0, pa.table(columns))
    store.finish(1)
    with pytest.raises(StoreError, match=r"000000\.parquet holds 1 vectors .* delete .*\.json and"):
        index(config(tmp_path, "index.buckets=1", "index.sample=2"))


@pytest.mark.parametrize("gone", [[], list(range(0, 1000, 3))])
def test_a_scan_of_an_index_has_the_bits_of_a_search_of_the_embeddings(done, tmp_path, gone):
    shutil.copytree(done / "embeddings", tmp_path / "embeddings")
    store, index = Store.open(tmp_path / "embeddings"), Store.open(done / "index")
    store.bury(gone)
    queries, record = stray_queries(70), RunRecord("test", 0, 0)
    exact = search_everything(in_process, store, queries, 11, record)
    found = scan(in_process, index, store, 4, queries.vectors, 11, record)
    for name in ("ids", "scores", "shards"):
        assert np.array_equal(getattr(exact, name), getattr(found, name))


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


def test_images_of_another_kind_added_since_are_measured_anew(tmp_path, capsys):
    """Clusters first, then as many vectors from nowhere, which the grid does not fit."""
    store = synthetic(tmp_path / "embeddings")
    index(config(tmp_path))
    stray = stray_queries(300).vectors
    ids = np.arange(2000, 2300)
    columns = {"id": ids, "key": list(map(str, ids)), "width": pa.array(ids, pa.int32())}
    added = pa.table(columns | {"height": columns["width"], "embedding": embedding_column(stray)})
    store.write_shard(4, added)
    store.finish(5)
    capsys.readouterr()
    index(config(tmp_path, "index.add=true"))
    printed = capsys.readouterr().out
    assert re.search(r"vectors added since the grid was trained │ 300 ", printed)
    opened = open_index(tmp_path / "index", store, 10, 0.9, 0.95)
    record = RunRecord("test", 0, 0)
    for mine in (range(0, 1000, 3), range(2000, 2300)):
        queries = stored_queries(store, list(mine))
        truth = without_self(queries, search_everything(in_process, store, queries, 11, record), 10)
        merged = search_index(in_process, opened, queries.vectors, 11)
        answer = without_self(queries, merged, 10)
        hits = [len(set(a) & set(b)) for a, b in zip(truth[0], answer[0], strict=True)]
        assert np.mean(hits) >= 8.8
        assert unlike_queries(opened, queries, merged).mean() < 0.05
    told = index_loss(opened, ["a"], np.zeros(1, np.bool_))
    assert re.search(r"on 400 sampled .*; of images added since the grid was trained 0\.9\d+", told)
    assert told.endswith("on 150 of those")
    short = index_loss(replace(opened, work=Work(1, 10), asked=1.0), ["a"], np.zeros(1, np.bool_))
    assert short.endswith(
        f"asked for: for such, delete {tmp_path}/index and run sluice index again"
    )


def test_an_index_of_another_layout_is_refused_by_name(done, tmp_path):
    header = read_header(done / "index", "index")
    older = {key: value for key, value in header.identity.items() if key != "layout"}
    shutil.copytree(done / "index", tmp_path / "index")
    data = {"format": FORMAT_VERSION, "kind": "index", "identity": older}
    (tmp_path / "index" / "store.json").write_bytes(sealed(data))
    told = f"{tmp_path}/index was made by another version of sluice; delete it and run sluice index"
    here = config(done, f"index.output={tmp_path}/index", "search.index=true")
    for job in (index, search):
        with pytest.raises(StoreError, match=re.escape(told)):
            job(here)


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
    record = RunRecord("test", 0, 0)
    for ask in (
        lambda: search_index(in_process, damaged, queries, 10),
        lambda: scan(in_process, store, damaged.embeddings, 1, queries, 10, record),
    ):
        with pytest.raises(StoreError, match=r"is damaged .*delete it and its \.json, then run"):
            ask()


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


def test_a_search_by_id_waits_for_no_decoder_and_no_network(done, tmp_path):
    asked = ["search", "id:7", "--index", "--recall=0.9", f"--output={tmp_path}/hits"]
    stores = [f"--set=embed.output={done}/embeddings", f"--set=index.output={done}/index"]
    program = f"""
import atexit, sys
from jobs.__main__ import main
sys.argv[1:] = {[*asked, *stores]!r}
atexit.register(lambda: print([name for name in {NEEDLESS!r} if name in sys.modules]))
main()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stdout + ran.stderr
    assert "probed" in ran.stdout
