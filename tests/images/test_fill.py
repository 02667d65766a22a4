"""What is told of a store that was brought up to its source, by the cheapest job that does it."""

import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.sign import sign
from pipeline.core.store import Store
from pipeline.images.manifest import pending_units
from tests.helpers.files import digests
from tests.helpers.images import write_tar
from tests.helpers.main_way import config


def signed(root, *settings):
    wanted = config(root, f"sign.output={root}/signatures", "ray.workers=0", *settings)
    sign(wanted)
    store = Store.open(root / "signatures")
    return [row for entry in store.manifest() for row in store.read(entry.shard).to_pylist()]


def test_keys_of_several_images_are_told(tmp_path, jpegs, capsys):
    (tmp_path / "source").mkdir()
    names = ["a.jpg", "image.jpg", "image.jpg", "image.jpg"]
    table = pa.table(
        {"image": [{"bytes": d, "path": n} for d, n in zip(jpegs, names, strict=False)]}
    )
    pq.write_table(table, tmp_path / "source" / "a.parquet")
    rows = signed(tmp_path, f"source.url={tmp_path}/source")
    assert [row["key"] for row in rows] == names
    assert len({row["id"] for row in rows}) == 4
    assert "keys of several images: 1; the ids tell these apart" in capsys.readouterr().err


def write_source(root, kind, jpegs):
    root.mkdir()
    named = {f"{number}.jpg": data for number, data in enumerate(jpegs[:5])} | {"bad.jpg": b"text"}
    if kind == "folder":
        for name, data in named.items():
            (root / name).write_bytes(data)
    elif kind == "webdataset":
        write_tar(root / "a.tar", named | {"0.cls": b"7"})
    else:
        table = {"id": range(-3, 3), "key": list(named), "bytes": list(named.values())}
        pq.write_table(pa.table(table), root / "a.parquet", row_group_size=2)


def touch(root):
    for path in root.iterdir():
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet"])
def test_a_touched_collection_is_the_same(tmp_path, jpegs, kind):
    source, store = tmp_path / "source", tmp_path / "signatures"
    write_source(source, kind, jpegs)
    settings = (f"source.url={source}", "source.shard_rows=4")
    before = signed(tmp_path, *settings)
    shards = {name: d for name, d in digests(store).items() if "source.parquet" not in name}
    touch(source)
    assert signed(tmp_path, *settings) == before
    after = digests(store)
    assert {name: after[name] for name in shards} == shards
    assert not [name for name in after if name not in shards and "source.parquet" not in name]
    manifest = after["attached/source.parquet"]
    assert signed(tmp_path, *settings) == before
    assert digests(store)["attached/source.parquet"] == manifest


def test_a_touched_file_of_the_same_size_and_other_bytes_is_another(tmp_path, jpegs, capsys):
    source = tmp_path / "source"
    write_source(source, "folder", jpegs)
    (source / "1.jpg").write_bytes(jpegs[1].ljust(30_000, b"\0"))
    before = {row["key"]: row["id"] for row in signed(tmp_path, f"source.url={source}")}
    (source / "1.jpg").write_bytes(jpegs[6].ljust(30_000, b"\0"))
    (source / "bad.jpg").write_bytes(b"news")
    touch(source)
    after = {row["key"]: row["id"] for row in signed(tmp_path, f"source.url={source}")}
    assert after.keys() == before.keys()
    assert [key for key in after if after[key] != before[key]] == ["1.jpg"]
    quarantine = Store.open(tmp_path / "signatures").read_quarantine()
    assert quarantine["key"].to_pylist() == ["bad.jpg"] * 2
    capsys.readouterr()
    (source / "bad.jpg").unlink()
    signed(tmp_path, f"source.url={source}")
    assert re.search(r"images quarantined +│ 0 ", capsys.readouterr().out)


def test_a_touched_table_with_another_caption_is_another(tmp_path, jpegs):
    source = tmp_path / "source"
    source.mkdir()
    for caption in ("one", "two"):
        table = pa.table({"bytes": jpegs[:3], "caption": [caption] * 3})
        pq.write_table(table, source / "a.parquet", compression=None)
        rows = signed(tmp_path, f"source.url={source}")
        assert [row["caption"] for row in rows] == [caption] * 3
        touch(source)


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_a_file_that_was_away_when_its_shard_was_made_is_read_once_it_is_back(
    tmp_path, jpegs, kind, monkeypatch
):
    source = tmp_path / "source"
    write_source(source, kind, jpegs)
    write_tar(tmp_path / "more.tar", {"9.jpg": jpegs[9]})
    (tmp_path / "9.jpg").write_bytes(jpegs[9])
    away = "more.tar" if kind == "webdataset" else "9.jpg"
    (tmp_path / away).rename(source / away)

    def leave(*_):
        if (source / away).exists():
            (source / away).rename(tmp_path / away)

    monkeypatch.setattr("pipeline.images.fill.keep_untouched", lambda *_: None)
    monkeypatch.setattr("pipeline.images.fill.pending_units", _and_then(pending_units, leave))
    settings = f"source.url={source}"
    assert len(signed(tmp_path, settings)) == 5
    monkeypatch.undo()
    assert len(signed(tmp_path, settings)) == 5
    (tmp_path / away).rename(source / away)
    after = signed(tmp_path, settings)
    assert len(after) == 6
    assert signed(tmp_path, settings) == after


def _and_then(function, leave):
    def both(*arguments):
        found = function(*arguments)
        leave()
        return found

    return both
