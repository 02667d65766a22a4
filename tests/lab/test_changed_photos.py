"""Copies under many changes: written as told, and counted by who pairs them with their photo."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.corpus.changes import CHANGES
from pipeline.corpus.photos import find_photos
from pipeline.lab.changed_photos import (
    REASONS,
    Found,
    at_precision,
    photos_kept,
    quality_by_way,
    share_by_change,
    similar_pairs,
    told_by_change,
    write_copies,
)
from pipeline.lab.process_tree import TreeUse

COPIES = pa.table(
    {
        "file": ["/c/1", "/c/2", "/c/3"],
        "photo": ["/p/a", "/p/a", "/p/b"],
        "change": ["grey", "sepia", "grey"],
    }
)


def _found(*pairs):
    columns = zip(*pairs, strict=True)
    return Found(
        TreeUse(1.0, 2**20), pa.table(dict(zip(("one", "other", "score"), columns, strict=True)))
    )


def test_each_photo_has_a_copy_under_each_change_or_some_in_turn(tmp_path):
    photos = [path for path, _ in find_photos(None)][:2]
    all_of_them = write_copies(photos[:1], tmp_path / "all", 0, None)
    assert all_of_them["change"].to_pylist() == list(CHANGES)
    in_turn = write_copies(photos, tmp_path / "few", 0, 3)
    assert in_turn["change"].to_pylist() == list(CHANGES)[:6]
    assert all((tmp_path / path).exists() for path in in_turn["file"].to_pylist())


def test_a_copy_counts_where_it_is_paired_with_its_own_photo():
    way = _found(("/c/1", "/p/a", 0.9), ("/c/1", "/c/2", 0.8), ("/p/a", "/c/3", 0.7))
    table = share_by_change({"way": way}, COPIES).to_pylist()
    shares = {row["change"]: row["way"] for row in table}
    assert shares["grey"] == 0.5
    assert shares["sepia"] == 0.0


def test_a_reason_counts_where_the_change_made_is_among_those_told():
    pairs = pa.table(
        {
            "one": ["/c/1", "/p/a", "/p/b", "/c/1"],
            "other": ["/p/a", "/c/2", "/c/3", "/c/2"],
            "why": ["a is grey", "recoloured, a is softer", "a is grey", "b is grey"],
        }
    )
    rows = {row["change"]: row for row in told_by_change(pairs, COPIES).to_pylist()}
    assert rows["grey"] == {"change": "grey", "found": 2, "told": 1}  # of the other, a is the photo
    assert rows["sepia"] == {"change": "sepia", "found": 1, "told": 1}


def test_a_reason_is_known_of_each_change():
    assert set(REASONS) == set(CHANGES)


def test_quality_leaves_pairs_of_two_photos_out():
    way = _found(
        ("/p/a", "/p/b", 1.0), ("/c/1", "/p/a", 0.9), ("/c/1", "/c/2", 0.8), ("/p/a", "/c/3", 0.7)
    )
    row = quality_by_way({"way": way}, COPIES).to_pylist()[0]
    assert row["pairs"] == 3
    assert row["precision"] == pytest.approx(2 / 3)
    assert row["recall"] == row["recall at P .99"] == pytest.approx(1 / 3)
    assert at_precision(way, COPIES).pairs["score"].to_pylist() == [0.9, 0.8]
    strict = replace(way, least=0.85)
    row = quality_by_way({"way": strict}, COPIES).to_pylist()[0]
    assert (row["pairs"], row["precision"]) == (1, 1.0)
    assert at_precision(strict, COPIES).pairs["score"].to_pylist() == [0.9, 0.8]
    empty = _found(("/p/a", "/p/b", 1.0))
    assert at_precision(empty, COPIES).pairs.num_rows == 0
    assert quality_by_way({"way": empty}, COPIES).to_pylist()[0]["precision"] is None


def test_all_pairs_of_vectors_that_are_similar_enough(tmp_path):
    store = Store.create(tmp_path, "embeddings", {})
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    for shard, rows in enumerate((slice(0, 2), slice(2, 3))):
        keys = ["a", "b", "c"][rows]
        table = {"id": range(3)[rows], "key": keys, "embedding": embedding_column(vectors[rows])}
        store.write_shard(shard, pa.table(table))
    store.finish(2)
    found = [tuple(row.values()) for row in similar_pairs(store, 0.7).to_pylist()]
    assert found == [("a", "b", pytest.approx(0.8))]


def test_a_photo_is_kept_where_it_survives_a_copy():
    rows = [
        ("/p/a", 1, True),
        ("/c/1", 1, False),
        ("/p/b", 2, False),
        ("/c/3", 2, True),
        ("/p/c", 3, True),
    ]
    names = ("file", "group", "survivor")
    groups = pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    assert photos_kept(groups, COPIES) == (1, 2)
