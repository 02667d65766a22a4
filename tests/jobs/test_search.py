"""What a search prints of its results."""

import json
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from jobs.config import RayConfig
from jobs.console import print_results
from jobs.embed import embed
from jobs.search import search
from jobs.settings import load_config
from tests.helpers.clustered import config, synthetic


def results(queries, k):
    rows = [
        (f"q{q}", rank, q, f"{rank}.jpg", 0.5) for q in range(queries) for rank in range(1, k + 1)
    ]
    names = ("query", "rank", "id", "key", "score")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


@pytest.mark.parametrize(
    ("queries", "k", "title", "shown"),
    [
        (1, 3, "1 query, 99 images", 3),
        (2, 10, "2 queries, 99 images", 20),
        (5, 11, "5 queries, 99 images", 50),
        (200, 5000, "the first 5 of 200 queries, 99 images", 50),
    ],
)
def test_no_more_than_the_first_results_of_the_first_queries(capsys, queries, k, title, shown):
    left = print_results(results(queries, k), queries, 99)
    told = capsys.readouterr().out.splitlines()
    assert told[0].strip() == title
    found = [line for line in told if ".jpg" in line]
    assert len(found) == shown
    assert left == queries * k - shown
    assert all(re.search(r"│ +([1-9]|10) │", line) for line in found)


def test_how_many_more_there_are_is_told(tmp_path, capsys):
    synthetic(tmp_path / "embeddings")
    search(config(tmp_path, "search.k=900"))
    told = " ".join(capsys.readouterr().out.split())
    assert "the first 5 of 60 queries, 1000 images" in told
    assert f"53,950 more results: {tmp_path}/search/results.parquet" in told
    search(config(tmp_path, "search.k=2", "search.sample_queries=3"))
    told = " ".join(capsys.readouterr().out.split())
    assert "3 queries, 1000 images" in told
    assert f"all results: {tmp_path}/search/results.parquet" in told


def test_a_query_needs_neither_torch_nor_ray_nor_the_weights(tmp_path, jpegs):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, jpeg in enumerate(jpegs[:4]):
        (photos / f"{number}.jpg").write_bytes(jpeg)
    stored = [f"embed.output={tmp_path}/embeddings", "embed.input_size=64", "ray.workers=0"]
    stored += ["embed.precision=f32"]
    embed(load_config(None, [f"source.url={photos}", *stored]))
    asked = [f"search.queries=['{photos}/2.jpg']", f"search.output={tmp_path}/search"]
    program = f"""
import sys
import pipeline.embedding.models as models
models.find_weights = None
from jobs.search import search
from jobs.settings import load_config
search(load_config(None, {[*stored, *asked]!r}))
needless = ("torch", "ray", "scipy", "cv2", "duckdb", "fsspec", "tenacity", "multiprocessing")
print([name for name in needless if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert "over the f32 vectors of efficientnet_lite0" in " ".join(done.stdout.split())
    best = pq.read_table(tmp_path / "search" / "results.parquet").to_pylist()[0]
    assert best["key"] == "2.jpg"
    assert best["score"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("screen", ["", ":0"])
def test_a_page_of_pictures_is_opened_where_there_is_a_screen(
    tmp_path, jpegs, monkeypatch, capsys, screen
):
    photos, opened = tmp_path / "photos", []
    photos.mkdir()
    for number, jpeg in enumerate(jpegs[:4]):
        (photos / f"<{number}>.jpg").write_bytes(jpeg)
    (tmp_path / "asked.jpg").write_bytes(jpegs[1])
    settings = [f"embed.output={tmp_path}/embeddings", "embed.input_size=64", "ray.workers=0"]
    embed(load_config(None, [f"source.url={photos}", *settings]))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    asked = [f"search.queries=['{tmp_path}/asked.jpg','<2>.jpg']", "search.k=3", "search.open=true"]
    search(load_config(None, [*settings, *asked, f"search.output={tmp_path}/hits.csv"]))
    page = tmp_path / "hits.csv.html"
    text = page.read_text()
    assert text.count('<section class="query">') == 2
    assert text.count("data:image/jpeg;base64,") == 2 + 2 * 3
    assert "query</b> <bdi>asked.jpg</bdi>" in text
    assert "&lt;1&gt;.jpg" in text
    assert "<1>.jpg" not in text
    assert "exact: every image was compared" in text
    assert opened == ([page.as_uri()] if screen else [])
    assert f"page: {page}" in "".join(capsys.readouterr().out.split("\n"))


def test_a_search_of_a_few_seconds_needs_no_ray_unless_workers_are_asked_for():
    assert RayConfig().for_work_of(1).workers == 0
    assert RayConfig().for_work_of(1000).workers == RayConfig().workers
    assert RayConfig(workers=3).for_work_of(1).workers == 3
    assert RayConfig(address="ray://a:1").for_work_of(1).workers == RayConfig().workers


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_results_are_a_file_of_the_kind_its_suffix_names(tmp_path, suffix):
    synthetic(tmp_path / "embeddings")
    output = tmp_path / "deep" / f"hits{suffix}"
    found = []
    for least in (-1, 0.8):
        search(config(tmp_path, f"search.output={output}", f"search.min_score={least}"))
        readers = {".parquet": pq.read_table, ".csv": csv.read_csv, ".json": _read_json}
        found.append(readers[suffix](output))
    every, near = found
    assert (every.num_rows, 0 < near.num_rows < 600) == (600, True)
    assert near.column_names == ["query", "query_id", "rank", "id", "key", "score"]
    assert near.sort_by("score")["score"][0].as_py() >= 0.8
    assert near.equals(every.filter(pa.compute.greater_equal(every["score"], 0.8)))
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def _read_json(path):
    return pa.Table.from_pylist(json.loads(path.read_text()))
