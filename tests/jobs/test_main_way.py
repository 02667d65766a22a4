"""The main job as a user runs it, on a local Ray."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.lab.growth import growth
from jobs.report import report
from jobs.search import search
from pipeline.core.errors import StoreError
from pipeline.core.store import Store
from tests.helpers.files import digests
from tests.helpers.main_way import config

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def done(tmp_path_factory, ray_cluster):
    root = tmp_path_factory.mktemp("main")
    for job in (make_corpus, embed, search, report):
        job(config(root))
    return root


def test_stores_are_whole(done):
    assert list(Store.open(done / "corpus", "corpus").problems()) == []
    store = Store.open(done / "embeddings", "embeddings")
    assert list(store.problems()) == []
    assert [entry.rows for entry in store.manifest()] == [32, 32, 32]
    assert store.identity["weights_sha256"]
    assert {"label", "source", "scene", "transform"} <= set(store.read(0).column_names)


def test_one_worker_and_other_shards_give_the_same_answer(done, tmp_path):
    overrides = ("ray.workers=1", "source.shard_rows=16", f"embed.output={tmp_path}/embeddings")
    other = config(done, *overrides, f"search.output={tmp_path}/search")
    embed(other)
    search(other)
    answers = [pq.read_table(root / "search" / "results.parquet") for root in (done, tmp_path)]
    assert answers[0].equals(answers[1])


def test_a_resumed_run_gives_the_same_bytes(done, tmp_path):
    again = config(done, f"embed.output={tmp_path}/embeddings")
    embed(again)
    whole = digests(tmp_path / "embeddings")
    (tmp_path / "embeddings" / "entries" / "000001.json").unlink()
    (tmp_path / "embeddings" / "shards" / ".000001.parquet.tmp-7").write_bytes(b"half a shard")
    (tmp_path / "embeddings" / "manifest.json").unlink()
    embed(again)
    assert digests(tmp_path / "embeddings") == whole == digests(done / "embeddings")


def test_other_settings_are_refused(done):
    with pytest.raises(StoreError, match="input_size: 64 there, 96 asked for"):
        embed(config(done, "embed.input_size=96"))


def test_results_are_brute_force_in_float64(done):
    table = pq.read_table(sorted((done / "embeddings" / "shards").glob("*.parquet")))
    vectors = np.stack(table["embedding"].to_numpy()).astype(np.float64)
    ids = table["id"].to_numpy()
    results = pq.read_table(done / "search" / "results.parquet").to_pandas()
    for query, hits in results.groupby("query_id"):
        scores = vectors @ vectors[ids == query][0]
        others = ids != query
        wanted = ids[others][np.lexsort((ids[others], -scores[others]))][:10]
        assert hits.sort_values("rank")["id"].tolist() == wanted.tolist()


def test_copies_of_chelsea_come_first(done):
    results = pq.read_table(done / "search" / "results.parquet").to_pandas()
    chelsea = results[results["query_id"] == 0].sort_values("rank")["id"].tolist()
    assert len(set(chelsea[:7]) & set(range(1, 8))) >= 5
    recall = pq.read_table(done / "search" / "recall.parquet").to_pandas().set_index("transform")
    assert recall.loc["all", "found"] / recall.loc["all", "known"] > 0.5


def test_the_page_holds_its_pictures(done):
    page = (done / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 12 * 11
    assert "Recall@10 of known copies" in page
    assert "Growth of searching, measured" not in page


def test_the_page_shows_the_growth_that_was_measured(done, tmp_path):
    wanted = config(done, f"report.growth={tmp_path}", f"report.output={tmp_path}/report.html")
    growth(4096, 16, wanted.report.growth)
    report(wanted)
    page = (tmp_path / "report.html").read_text()
    assert "Growth of searching, measured" in page
    assert page.count("O(log N), here N^") == 3


def test_a_folder_with_bad_images_a_file_query_and_a_second_look(tmp_path, jpegs, ray_cluster):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, data in enumerate(jpegs):
        (folder / f"{number:02d}.jpg").write_bytes(data)
    (folder / "bad.jpg").write_text("a text")
    query = tmp_path / "query.jpg"
    query.write_bytes(jpegs[3])
    wanted = config(
        tmp_path, f"source.url={folder}", f"search.queries=['{query}']", "search.sample_queries=0"
    )
    for job in (embed, search, report):
        job(wanted)
    results = pq.read_table(tmp_path / "search" / "results.parquet").to_pylist()
    assert results[0]["key"] == "03.jpg"
    assert results[0]["score"] == pytest.approx(1, abs=1e-6)
    quarantine = Store.open(tmp_path / "embeddings", "embeddings").read_quarantine().to_pylist()
    assert [(row["key"], row["reason"]) for row in quarantine] == [("bad.jpg", "not-an-image")]
    assert "not-an-image" in (tmp_path / "report.html").read_text()

    (folder / "late.jpg").write_bytes(jpegs[0])
    (folder / "later.jpg").write_bytes(jpegs[5])
    embed(wanted)
    store = Store.open(tmp_path / "embeddings", "embeddings")
    assert [entry.rows for entry in store.manifest()] == [12, 2]


def run_jobs(*arguments):
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_verify_finds_a_changed_byte(done, tmp_path):
    whole, broken = done / "embeddings", tmp_path / "embeddings"
    shutil.copytree(whole, broken)
    path = broken / "shards" / "000001.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert run_jobs("verify", whole, done / "corpus").returncode == 0
    run = run_jobs("verify", whole, broken)
    assert run.returncode == 4
    assert f"{path} does not have the checksum" in run.stderr
    assert "delete them with their entries and run sluice embed again" in run.stderr


def test_models_says_what_is_usable_and_why_not():
    run = run_jobs("models")
    assert run.returncode == 0
    assert "usable, what auto takes" in run.stdout
    assert "resnet50 needs embed.weights" in " ".join(run.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "Similar-image search"),
        (["embed", "--set", "embed.batch_size=0"], 2, "embed.batch_size"),
        (["embed", "--set", "source.url=/nowhere"], 3, "is not there; mend source.url"),
        (["search", "--set", "embed.output=/nowhere"], 2, "no queries"),
        (["search", "id:1", "--set", "embed.output=/nowhere"], 3, "run sluice embed first"),
        (["nosuchjob"], 2, "No such command"),
    ],
)
def test_mistakes_have_an_exit_code_and_no_traceback(arguments, code, message):
    run = run_jobs(*arguments)
    assert run.returncode == code
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
