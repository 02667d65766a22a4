"""Rows found by sorted files, against a look through all shards."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import row_map
from pipeline.core.errors import StoreError
from pipeline.core.folder import place
from pipeline.core.row_map import RowMap, keep_row_maps, rows_with
from pipeline.core.store import Store
from pipeline.search.queries import find_images, ids_of_keys, sample_ids

ROWS, SHARDS = 23, 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(row_map, "BLOCK", 5)


def shard_table(shard):
    rng = np.random.default_rng(shard)
    ids = (rng.permutation(ROWS) * SHARDS + shard) * 7 - 100
    return pa.table(
        {
            "id": ids,
            "key": [f"ä{number % 5}" if number % 3 else f"u{number}" for number in ids],
            "scene": pa.array(ids // 90),
            "width": ids * 2,
        }
    )


def made(root, shards=SHARDS):
    store = Store.create(root, "embeddings", {})
    for shard in range(shards):
        if shard not in {entry.shard for entry in store.entries()}:
            store.write_shard(shard, shard_table(shard), row_group=4)
    store.finish(shards)
    return store


def asked(store):
    """Look-ups of many kinds, among them values that are not there and ones of several rows."""
    ids = [-100, 5, 19, 19, 2**40, *range(-93, 400, 11)]
    keys = ["ä1", "u47", "ä4", "z", ""]
    return [
        rows_with(store, "id", pa.array(ids), ["width", "id"]),
        rows_with(store, "id", pa.array([], pa.int64()), ["id"]),
        rows_with(store, "id", pa.array([2**40]), ["id"]),
        rows_with(store, "key", pa.array(keys), ["id", "key"]),
        rows_with(store, "scene", pa.array([2, -2, 5]), ["id", "scene"]),
        *(sample_ids(store, count) for count in (1, 2, 10, 500)),
    ]


@pytest.mark.parametrize(("buried", "far"), [(0, False), (1, True), (30, False)])
def test_a_map_gives_what_a_look_through_all_shards_does(tmp_path, buried, far):
    root = place("memory://bucket/row-maps") if far else tmp_path
    store = made(root)
    ids = [number for shard in range(SHARDS) for number in shard_table(shard)["id"].to_pylist()]
    store.bury(sorted(ids[: 2 * buried : 2]))
    looked_through = asked(store)
    assert looked_through[3].num_rows > 8
    assert not store.attached_names("by_*")
    keep_row_maps(store)
    assert store.attached_names("by_*") == ["by_id.arrow", "by_key.arrow", "by_scene.arrow"]
    assert asked(Store.open(root)) == looked_through


def test_a_look_up_reads_the_row_groups_of_its_rows_alone(tmp_path, monkeypatch):
    store, read = made(tmp_path), []
    keep_row_maps(store)
    real = RowMap._block

    def counted(known, block):
        read.append(block)
        return real(known, block)

    monkeypatch.setattr(RowMap, "_block", counted)
    monkeypatch.setattr(Store, "read", None)
    monkeypatch.setattr(Store, "read_whole", None)
    number = shard_table(2)["id"][7].as_py()
    assert find_images(store, [number], ["width"]).to_pylist() == [{"width": 2 * number}]
    assert len(read) <= 2
    alone = next(n for n in shard_table(3)["id"].to_pylist() if n % 3 == 0)
    assert ids_of_keys(store, [f"u{alone}"]) == [alone]


def test_a_map_of_other_shards_counts_as_none_until_it_is_made_again(tmp_path):
    store = made(tmp_path, 2)
    keep_row_maps(store)
    before = store.attached("by_id.arrow")
    made(tmp_path)
    assert RowMap.kept(store, "id") is None
    number = shard_table(3)["id"][0].as_py()
    assert find_images(store, [number], ["id"])["id"].to_pylist() == [number]
    keep_row_maps(store)
    assert RowMap.kept(store, "id").find(pa.array([number]))["shard"].to_pylist() == [3]
    assert store.attached("by_id.arrow") != before


def test_no_changed_byte_of_a_map_gives_another_answer(tmp_path):
    store = made(tmp_path)
    keep_row_maps(store)
    path = store.attachments.path("by_key.arrow")
    whole, told = path.read_bytes(), 0
    keys = pa.array(["ä1", "ä4", "z"])
    right = rows_with(store, "key", keys, ["id"])
    for at in range(0, len(whole), 211):
        changed = bytearray(whole)
        changed[at] ^= 0x41
        path.write_bytes(changed)
        try:
            assert rows_with(store, "key", keys, ["id"]) == right, at
        except StoreError as error:
            told += "by_key.arrow" in str(error) and "run sluice embed again" in str(error)
    assert told > 9
    keep_row_maps(store)
    assert rows_with(store, "key", keys, ["id"]) == right
