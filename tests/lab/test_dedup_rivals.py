import pytest

from pipeline.lab.dedup_rivals import _pairs, find_pairs
from pipeline.lab.embed_rivals import write_files


def test_a_pair_told_twice_is_one_and_a_distance_becomes_a_score():
    found = {
        "00000002.jpg": [("00000000.jpg", 3)],
        "00000000.jpg": [("00000002.jpg", 3), ("00000001.jpg", 1)],
        "00000001.jpg": [],
    }
    rows = [tuple(row.values()) for row in _pairs(found, -1.0).to_pylist()]
    assert rows == [(0, 1, -1.0, False), (0, 2, -3.0, False)]


def test_imagededup_finds_the_same_file_twice(jpegs, tmp_path):
    pytest.importorskip("imagededup")
    write_files([*jpegs[:4], jpegs[1]], tmp_path)
    pairs = find_pairs("phash", tmp_path, {"workers": 0})
    assert (1, 4, 0.0, False) in [tuple(row.values()) for row in pairs.to_pylist()]
