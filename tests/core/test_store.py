import errno
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import jobs
from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import SEAL, sealed, write_atomically
from pipeline.core.makers import MAKERS
from pipeline.core.shards import Shards
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from tests.helpers.files import flips_one_bit_of_every_byte


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", "embeddings", {"model": "a", "size": 1})


def rows(*numbers):
    return pa.table({"id": list(numbers)})


def test_a_store_is_what_was_written(store):
    store.write_shard(0, rows(1, 2))
    store.write_shard(1, rows(3), quarantine=rows(9))
    store.finish(2)
    assert [entry.rows for entry in store.manifest()] == [2, 1]
    assert store.read(1)["id"].to_pylist() == [3]
    assert store.read_quarantine()["id"].to_pylist() == [9]
    assert list(store.problems()) == []


def test_the_same_rows_give_the_same_bytes(tmp_path):
    trees = []
    for name in ("a", "b"):
        made = Store.create(tmp_path / name, "embeddings", {"model": "a"})
        made.write_shard(0, rows(1, 2), quarantine=rows(3))
        made.finish(1)
        files = sorted(p for p in made.root.rglob("*") if p.is_file())
        trees.append({str(p.relative_to(made.root)): p.read_bytes() for p in files})
    assert trees[0] == trees[1]


def test_a_shard_without_its_entry_does_not_count(store):
    store.write_shard(0, rows(1))
    store.shards.entry_path(0).unlink()
    assert store.entries() == []
    with pytest.raises(StoreError, match="lacks 1 of 1"):
        store.finish(1)


def test_what_finished_no_shard_decides_nothing(tmp_path):
    first = Store.create(tmp_path / "store", "pairs", {"similarity": 0.9})
    first.attach("grid.parquet", b"a grid")
    Store.create(first.root / "partitions", "partitions", {}).write_shard(0, rows(1))
    with first.lock(), pytest.raises(StoreError, match="another job is writing"):
        Store.create(first.root, "pairs", {"similarity": 0.8})
    second = Store.create(first.root, "pairs", {"similarity": 0.8})
    assert second.attached_names() == []
    assert not (second.root / "partitions").exists()
    second.finish(0)
    with pytest.raises(StoreError, match=r"similarity: 0\.8 there, 0\.9 asked for"):
        Store.create(first.root, "pairs", {"similarity": 0.9})


def test_a_truncated_shard_is_made_again(store):
    store.write_shard(0, rows(*range(100)))
    os.truncate(store.shards.path(0), 50)
    assert store.entries() == []
    with pytest.raises(StoreError, match="cannot be read"):
        store.read(0)


def test_a_changed_byte_is_found(store):
    store.write_shard(0, rows(*range(100)))
    store.finish(1)
    data = bytearray(store.shards.path(0).read_bytes())
    data[10] ^= 1
    store.shards.path(0).write_bytes(data)
    assert ["checksum" in line for line in store.problems()] == [True]


def test_no_changed_bit_of_a_shard_ever_gives_a_wrong_row(store):
    vectors = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    table = pa.table({"id": np.arange(20), "embedding": embedding_column(vectors)})
    table = table.append_column("key", pa.array([f"{n}.jpg" for n in range(20)]))
    store.write_shard(0, table)
    path, told = store.shards.path(0), []
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place // 2 % 8
        all_rows = [("id", ">=", 0)] if place % 2 else None
        path.write_bytes(data)
        try:
            assert store.read_whole(0, filters=all_rows).equals(table)
        except StoreError as error:
            told.append(str(error))
    assert len(told) > 0.9 * len(whole)
    assert all(
        re.search(r"000000\.parquet cannot be read .* delete .*json and run sluice embed again", t)
        for t in told
    )


def test_every_changed_bit_of_a_quarantine_file_is_told(store):
    reasons = pa.array(["empty", "truncated", "damaged"])
    refused = pa.table({"id": [4, 5, 6], "key": ["a", "b", "c"], "reason": reasons})
    store.write_shard(0, rows(1, 2), quarantine=refused)
    store.finish(1)
    for _ in flips_one_bit_of_every_byte(store.shards.quarantine_path(0)):
        with pytest.raises(StoreError, match=r"quarantine/000000\.parquet .* delete .*json"):
            store.read_quarantine()
        assert len(list(store.problems())) == 1
    assert store.read_quarantine().equals(refused)
    store.shards.quarantine_path(0).unlink()
    with pytest.raises(StoreError, match="No such file"):
        store.read_quarantine()


def test_an_entry_that_is_not_the_manifests_is_told(store):
    store.write_shard(0, rows(1, 2))
    store.finish(1)
    entry = store.shards.entry_path(0)
    for _ in flips_one_bit_of_every_byte(entry):
        assert [entry.name in line for line in store.problems()] == [True]
    store.write_shard(0, rows(1, 3))
    assert [("checksum" in t, "not what" in t) for t in store.problems()] == [
        (False, True),
        (True, False),
    ]


def test_other_settings_are_refused(store):
    store.write_shard(0, rows(1))
    with pytest.raises(StoreError, match="size: 1 there, 2 asked for"):
        Store.create(store.root, "embeddings", {"model": "a", "size": 2})


def test_another_kind_and_a_newer_format_are_refused(store):
    store.write_shard(0, rows(1))
    with pytest.raises(StoreError, match="holds embeddings, not corpus"):
        Store.open(store.root, "corpus")
    header = json.loads((store.root / "store.json").read_text())
    (store.root / "store.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(StoreError, match="newer Sluice"):
        Store.open(store.root, "embeddings")


@pytest.mark.parametrize(("kind", "command"), MAKERS.items())
def test_a_missing_store_is_told_with_the_command_that_makes_it(tmp_path, kind, command):
    told = rf"{tmp_path} holds no {kind} \(it has no store.json\): run {command} first, or mend"
    with pytest.raises(InputError, match=told):
        Store.open(tmp_path, kind)
    with pytest.raises(InputError, match=r"is no store \(it has no store.json\); mend the path"):
        Store.open(tmp_path)


def test_the_commands_that_make_stores_are_there():
    folder = Path(jobs.__file__).parent
    for command in MAKERS.values():
        path = folder.joinpath(*command.split()[1:])
        assert path.with_suffix(".py").exists(), command


def test_a_store_or_manifest_without_its_format_is_damaged(store):
    store.write_shard(0, rows(1))
    store.finish(1)
    for path, read in (
        (store.root / "manifest.json", store.manifest),
        (store.root / "store.json", lambda: Store.open(store.root)),
    ):
        header = json.loads(path.read_text())
        kept = {name: header[name] for name in header.keys() - {"format", SEAL}}
        path.write_bytes(sealed(kept))
        with pytest.raises(StoreError, match=r"is damaged .'format'"):
            read()


def test_the_second_of_two_jobs_is_refused_and_leftovers_go(store):
    leftover = store.root / ".000000.parquet.tmp-1"
    leftover.write_bytes(b"half")
    with store.lock():
        assert not leftover.exists()
        with (
            pytest.raises(StoreError, match="another job"),
            Store.open(store.root, "embeddings").lock(),
        ):
            pass
    with store.lock():
        pass


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        write_atomically(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_store_says_so(store):
    told = r"is not finished \(it has no manifest.json\); run sluice embed again: it resumes"
    with pytest.raises(InputError, match=told):
        store.manifest()


def test_what_is_attached_comes_back_and_damage_is_told(store):
    assert store.attached("notes") is None
    store.attach("notes", b"one")
    store.attach("notes", b"two")
    assert store.attached("notes") == b"two"
    (store.root / "attached" / "notes").write_bytes(b"twO")
    with pytest.raises(StoreError, match="checksum"):
        store.attached("notes")


@pytest.mark.parametrize("recorded", [False, True])
def test_a_crash_while_replacing_what_is_attached(store, recorded):
    path = store.root / "attached" / "notes"
    store.attach("notes", b"new" if recorded else b"old")
    path.write_bytes(b"old")
    path.with_name(".notes.pending").write_bytes(b"new")
    left = b"new" if recorded else b"old"
    assert store.attached("notes") == left
    with store.lock():
        assert store.attached("notes") == left
    assert path.read_bytes() == left
    assert {file.name for file in path.parent.iterdir()} == {"notes", "notes.json"}


def test_every_changed_bit_of_a_record_is_told(store):
    store.write_shard(0, rows(1, 2))
    store.finish(1)
    store.attach("notes", b"one")
    reads = {
        store.shards.entry_path(0): lambda: store.read(0),
        store.root / "manifest.json": store.manifest,
        store.root / "store.json": lambda: Store.open(store.root).identity,
        store.root / "attached" / "notes.json": lambda: store.attached("notes"),
    }
    for path, read in reads.items():
        read()
        for _ in flips_one_bit_of_every_byte(path):
            with pytest.raises(StoreError):
                read()


def test_a_file_without_its_own_checksum_is_damaged(store):
    store.write_shard(0, rows(1))
    store.finish(1)
    store.attach("notes", b"one")
    for path, read in {
        store.shards.entry_path(0): lambda: store.read(0),
        store.root / "manifest.json": store.manifest,
        store.root / "store.json": lambda: Store.open(store.root),
        store.root / "attached" / "notes.json": lambda: store.attached("notes"),
    }.items():
        value = json.loads(path.read_text())
        del value[SEAL]
        path.write_text(json.dumps(value))
        with pytest.raises(StoreError, match="it does not have its own checksum"):
            read()


def test_a_shard_whose_entry_does_not_know_its_footer_is_refused(store):
    store.write_shard(0, rows(1))
    path = store.shards.entry_path(0)
    entry = json.loads(path.read_text())
    for footer, told in (("", "footer has changed"), (None, "footer_checksum")):
        kept = {n: v for n, v in entry.items() if n not in (SEAL, "footer_checksum")}
        path.write_bytes(sealed(kept if footer is None else kept | {"footer_checksum": footer}))
        with pytest.raises(StoreError, match=told):
            store.read(0)


def test_the_columns_of_a_store_are_told_without_reading_a_row(store, monkeypatch):
    store.finish(0)
    assert store.columns() == []
    store.write_shard(0, pa.table({"id": [1], "x": ["a"]}))
    store.finish(1)
    monkeypatch.setattr("pipeline.core.shards.read_parquet", None)
    assert store.columns() == ["id", "x"]
    os.truncate(store.shards.path(0), 50)
    with pytest.raises(StoreError, match=r"its footer has changed.; delete .* run sluice embed"):
        store.columns()


def test_what_is_attached_has_names_with_folders(store):
    for name in ("a/2", "a/10", "notes"):
        store.attach(name, name.encode())
    assert store.attached("a/10") == b"a/10"
    assert store.attached_names() == ["a/10", "a/2", "notes"]
    assert store.attached_names("a/*") == ["a/10", "a/2"]
    store.finish(0)
    (store.root / "attached" / "a" / "2").unlink()
    assert [line.count("attached/a/2") for line in store.problems()] == [1]


def test_tombstoned_rows_are_not_seen_and_can_come_back(store):
    store.write_shard(0, pa.table({"id": [1, 2, 3], "x": [10, 20, 30]}))
    store.finish(1)
    store.bury([2])
    again = Store.open(store.root)
    assert again.read(0).to_pydict() == {"id": [1, 3], "x": [10, 30]}
    assert again.read(0, ["x"]).to_pydict() == {"x": [10, 30]}
    assert again.read_whole(0).num_rows == 3
    assert again.images() == 2
    again.bury([])
    assert again.read(0)["id"].to_pylist() == [1, 2, 3]


def times(path, seconds):
    os.utime(path, (time.time() + seconds,) * 2)


def test_entries_that_were_compacted_are_not_read_one_by_one(store, monkeypatch):
    for shard in (0, 1, 2):
        store.write_shard(shard, rows(shard))
        times(store.shards.entry_path(shard), -9)
    whole = store.finish(3)
    read = []
    monkeypatch.setattr(Shards, "entry", lambda self, shard: read.append(shard))
    assert store.entries() == whole
    assert store.manifest() == whole
    assert read == []


def test_an_entry_that_is_newer_than_the_compacted_ones_is_read(store):
    for shard in (0, 1):
        store.write_shard(shard, rows(shard))
        times(store.shards.entry_path(shard), -9)
    store.finish(2)
    store.write_shard(1, rows(7, 8, 9))
    times(store.shards.entry_path(1), 9)
    store.shards.entry_path(0).unlink()
    store.write_shard(1234567, rows(5))
    assert [(entry.shard, entry.rows) for entry in store.entries()] == [(1, 3), (1234567, 1)]


def test_a_damaged_file_of_compacted_entries_is_told_and_made_again(store):
    store.write_shard(0, rows(1))
    whole = store.finish(1)
    path = next((store.root / "compacted").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert store.entries() == whole  # of the entry itself
    with pytest.raises(StoreError, match="damaged"):
        store.manifest()
    path.unlink()
    with pytest.raises(StoreError, match=r"is missing; delete .*manifest.json and run"):
        store.manifest()
    store.finish(1)
    assert store.manifest() == whole


def test_a_run_compacts_as_it_goes_and_the_manifest_keeps_its_own(store, monkeypatch):
    monkeypatch.setattr("pipeline.core.store.COMPACTED", 2)
    store.write_shard(0, rows(0))
    whole = store.finish(1)
    written = (store.write_shard(shard, rows(shard)) for shard in range(1, 4))
    assert len(list(store.compacting(written))) == 3
    assert store.manifest() == whole
    compacted = {path.stem for path in (store.root / "compacted").iterdir()}
    assert len(compacted) == 2
    store.finish(4)
    assert len(list((store.root / "compacted").iterdir())) == 1
