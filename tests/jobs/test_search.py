"""What a search prints of its results."""

import re

import pyarrow as pa
import pytest

from jobs.search import print_results, search
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
