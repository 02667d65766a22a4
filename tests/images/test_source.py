import io
import os
import re
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import checksum
from pipeline.core.ids import stable_id
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.manifest import (
    MANIFEST,
    UNITS,
    extend_manifest,
    is_live,
    kept_manifest,
    plan_manifest,
    read_manifest,
    refuse_ids,
    stored_source,
)
from pipeline.images.reader import read_shard
from pipeline.images.shard_rows import LEAST, MOST, SHARDS_A_WORKER, Evenly, rows_a_shard
from pipeline.images.source import list_source
from tests.helpers.images import write_tar


@pytest.fixture
def folder(tmp_path, jpegs):
    root = tmp_path / "photos"
    for number, data in enumerate(jpegs):
        path = root / ("cats" if number % 2 else "dogs") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "notes.txt").write_text("not an image")
    return root


def everything(listed, shard_rows=5):
    source, manifest = listed.source, plan_manifest(listed, shard_rows).manifest
    shards = sorted(set(manifest["shard"].to_pylist()))
    assert shards == list(range(len(shards)))
    return pa.concat_tables([read_shard(source, manifest, shard) for shard in shards])


def test_folder(folder, jpegs):
    table = everything(list_source(str(folder)))
    assert set(table["bytes"].to_pylist()) == set(jpegs)
    assert table["key"][0].as_py() == "cats/01.jpg"
    assert table["label"][0].as_py() == "cats"
    assert table["id"][0].as_py() == stable_id("cats/01.jpg")


def test_shards_hold_about_what_is_asked_for(folder):
    manifest = plan_manifest(list_source(str(folder)), 5).manifest
    assert [manifest["shard"].to_pylist().count(shard) for shard in range(3)] == [5, 5, 2]


def test_another_filesystem(jpegs):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe({f"/source/{number}.jpg": data for number, data in enumerate(jpegs)})
    try:
        assert everything(list_source("memory://source"))["bytes"].to_pylist()[0] == jpegs[0]
    finally:
        fs.rm("/source", recursive=True)


def test_webdataset(tmp_path, jpegs):
    members = {f"{n:03d}.jpg": data for n, data in enumerate(jpegs[:4])}
    write_tar(tmp_path / "a.tar", members | {"002.cls": b"7"})
    write_tar(tmp_path / "b.tar", {"x/y.jpeg": jpegs[5]})
    listed = list_source(str(tmp_path))
    table = everything(listed, 1000)
    assert listed.source.kind == "webdataset"
    assert table["key"].to_pylist()[-1] == "b.tar/x/y.jpeg"
    assert table["label"].to_pylist() == ["", "", "7", "", ""]
    manifest = plan_manifest(listed, 1000).manifest
    assert (manifest["shard"].to_pylist(), manifest["rows"].to_pylist()) == ([0, 1], [None, None])


def test_parquet_keeps_its_ids_and_columns(tmp_path, jpegs):
    table = pa.table({"id": range(100, 112), "bytes": jpegs, "colour": ["red"] * 12})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    found = everything(list_source(str(tmp_path)))
    assert found["id"].to_pylist() == list(range(100, 112))
    assert found["bytes"].to_pylist() == jpegs
    assert found["key"].to_pylist()[5] == "a.parquet#5"
    assert found.column_names == ["id", "key", "bytes", "refused", "checksum", "file", "colour"]
    assert found["checksum"].to_pylist() == [checksum(data) for data in jpegs]


def test_parquet_without_ids_gets_stable_ones(tmp_path, jpegs):
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "a.parquet", row_group_size=4)
    assert everything(list_source(str(tmp_path)))["id"][5].as_py() == stable_id("a.parquet#5")


def planned(root, known=None, shard_rows=5):
    return plan_manifest(list_source(str(root)), shard_rows, known).manifest


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (pa.array([1] * 12), "ids more than once .first: 1."),
        (
            pa.array([2**63, *range(11)], pa.uint64()),
            "has ids up to 9223372036854775808; give every image",
        ),
        (pa.array([None, *range(11)]), "has 1 images without an id"),
    ],
)
def test_ids_that_cannot_stand_for_images_are_refused(tmp_path, jpegs, ids, told):
    pq.write_table(pa.table({"id": ids, "bytes": jpegs}), tmp_path / "a.parquet")
    listed = list_source(str(tmp_path))
    with pytest.raises(InputError, match=told):
        refuse_ids(listed, plan_manifest(listed, 5).manifest)


def test_a_grown_source_gets_new_shards_and_keeps_the_old(folder, jpegs):
    before = planned(folder)
    (folder / "a-new-one.jpg").write_bytes(jpegs[0])
    after = planned(folder, before)
    assert after.slice(0, before.num_rows).equals(before)
    assert after.slice(before.num_rows).select(["shard", "path", "revision"]).to_pylist() == [
        {"shard": 3, "path": "a-new-one.jpg", "revision": 0}
    ]


def test_a_changed_file_is_another_unit_and_a_gone_one_keeps_its_place(folder, jpegs):
    before = planned(folder)
    path = folder / "cats" / "01.jpg"
    path.write_bytes(jpegs[0] + b"other")
    listed = list_source(str(folder))
    after = plan_manifest(listed, 5, before).manifest
    assert after.slice(before.num_rows).select(["shard", "path", "revision"]).to_pylist() == [
        {"shard": 3, "path": "cats/01.jpg", "revision": 1}
    ]
    assert np.flatnonzero(~is_live(after, listed.files)).tolist() == [0]
    [row] = read_shard(listed.source, after, 3).to_pylist()
    assert (row["bytes"], row["key"]) == (jpegs[0] + b"other", "cats/01.jpg")
    assert row["id"] not in read_shard(listed.source, before, 0)["id"].to_pylist()
    path.unlink()
    assert planned(folder, before).equals(before)
    assert read_shard(listed.source, before, 0).num_rows == 4


def test_a_file_rewritten_in_place_with_its_size_is_another(folder):
    before = planned(folder)
    path = folder / "cats" / "01.jpg"
    os.utime(path, ns=(1, 1))
    assert planned(folder, before).num_rows == before.num_rows + 1


def test_an_unknown_size_or_date_is_no_change(folder):
    listed = list_source(str(folder))
    unknown = {name: pa.nulls(12, listed.files[name].type) for name in ("bytes", "version")}
    files = listed.files
    for name, column in unknown.items():
        files = files.set_column(files.column_names.index(name), name, column)
    known = plan_manifest(listed, 5).manifest
    assert plan_manifest(replace(listed, files=files), 5, known).manifest.equals(known)
    known = plan_manifest(replace(listed, files=files), 5).manifest
    assert plan_manifest(listed, 5, known).manifest.equals(known)


def test_planning_reads_no_image(tmp_path, jpegs):
    """Only what a listing and a footer say: the images' own pages may be anything."""
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "a.parquet", row_group_size=4)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    (tmp_path / "a.parquet").write_bytes(data)
    assert planned(tmp_path)["rows"].to_pylist() == [4, 4, 4]
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "b.tar", {"1.jpg": jpegs[0]})
    assert planned(tmp_path / "tars").num_rows == 1


def test_a_large_row_group_is_cut(tmp_path, jpegs):
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "a.parquet")
    manifest = planned(tmp_path)
    assert manifest.select(["start", "stop"]).to_pylist() == [
        {"start": 0, "stop": 5},
        {"start": 5, "stop": 10},
        {"start": 10, "stop": 12},
    ]
    assert everything(list_source(str(tmp_path)))["bytes"].to_pylist() == jpegs


def test_a_shard_is_bounded_by_bytes_too(folder, jpegs, monkeypatch):
    monkeypatch.setattr("pipeline.images.manifest.SHARD_BYTES", 3 * max(map(len, jpegs)))
    counts = planned(folder, shard_rows=1000)["shard"].value_counts().to_pylist()
    assert len(counts) >= 4
    assert all(count["counts"] >= 3 for count in counts[:-1])


@pytest.mark.parametrize(
    ("workers", "images", "rows"),
    [(2, 1, 64), (2, 600, 64), (2, 2000, 192), (16, 2000, 64), (0, 700, 128), (16, 10**6, 1024)],
)
def test_every_worker_has_several_shards(workers, images, rows):
    found = rows_a_shard(Evenly(workers), images)
    assert found == rows
    assert found in (LEAST, MOST) or images / found >= SHARDS_A_WORKER * workers
    assert rows_a_shard(7, images) == 7


def test_where_no_rows_are_asked_for_they_are_cut_evenly(tmp_path):
    tables = {"a": (500, 500), "b": (300, 64)}  # rows, and rows a row group
    for name, (rows, group) in tables.items():
        table = pa.table({"bytes": pa.array([b"x"] * rows, pa.binary())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=group)
    listed = list_source(str(tmp_path))
    units = plan_manifest(listed, Evenly(1)).manifest  # 200 rows a worker, so 192
    shards = units.group_by("shard").aggregate([("rows", "sum")])["rows_sum"].to_pylist()
    assert (max(shards), sum(shards)) == (192, 800)
    for name, (rows, _) in tables.items():
        mine = units.filter(pc.equal(units["path"], f"{name}.parquet"))
        spans = zip(mine["start"].to_pylist(), mine["stop"].to_pylist(), strict=True)
        assert [row for span in spans for row in range(*span)] == list(range(rows))
    assert pc.sum(units["bytes"]).as_py() > 0
    assert plan_manifest(listed, Evenly(9), units).manifest.equals(units)


def test_what_is_no_source_is_told(tmp_path, jpegs):
    with pytest.raises(InputError, match="is not there"):
        list_source(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no images"):
        list_source(str(tmp_path))
    with pytest.raises(InputError, match="cannot be opened"):
        list_source("nosuchprotocol://x")
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="webdataset and folder"):
        list_source(str(tmp_path))


def test_an_unusable_file_is_counted_and_leaves_nothing_behind(tmp_path, jpegs):
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    found = plan_manifest(list_source(str(tmp_path)), 100)
    assert found.manifest["path"].to_pylist() == ["a.parquet"]
    told = sorted(found.unusable)
    assert re.search(r"b\.parquet has no column named bytes and none among \['url'\]", told[0])
    assert re.search(r"c\.parquet is not Parquet", told[1])
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "c.parquet")
    after = plan_manifest(list_source(str(tmp_path)), 100, found.manifest)
    assert after.manifest["path"].to_pylist() == ["a.parquet", "c.parquet"]


def test_an_unfinished_store_is_no_source_yet(tmp_path):
    store = Store.create(tmp_path / "store", "corpus", {})
    with pytest.raises(InputError, match=r"is not finished .*; run sluice corpus again: it res"):
        list_source(str(store.root))
    (store.root / "store.json").write_bytes(b"no JSON")
    with pytest.raises(InputError, match="run the command that made it again"):
        list_source(str(store.root))


def test_a_changed_byte_in_a_source_of_our_own_is_told(tmp_path, jpegs):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_bytes(pa.table({"bytes": pa.array(jpegs, pa.binary())})))
    listed = list_source(str(tmp_path))
    source, manifest = listed.source, plan_manifest(listed, 100).manifest
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
        read_shard(source, manifest, 0)


def test_the_manifest_is_kept_in_the_store(folder, tmp_path):
    listed = list_source(str(folder))
    store = Store.create(tmp_path / "store", "embeddings", {})
    assert kept_manifest(store) is None
    with pytest.raises(InputError, match="is not begun; run sluice embed first"):
        read_manifest(store)
    store.write_shard(0, pa.table({"id": [1]}))
    with pytest.raises(
        StoreError,
        match=f"lacks attached/{MANIFEST}; run sluice verify .* run sluice embed again",
    ):
        read_manifest(store)
    (store.root / "entries" / "000000.json").unlink()
    manifest = extend_manifest(store, listed, 5).manifest
    assert read_manifest(store).equals(manifest)
    assert stored_source(store) == listed.source
    other = manifest.rename_columns([f"{n}_" for n in UNITS.names])
    store.attach(MANIFEST, parquet_bytes(other))
    with pytest.raises(StoreError, match=f"{MANIFEST} of .* has columns of another kind; delete"):
        read_manifest(store)


def test_another_source_is_refused_by_name_and_a_moved_one_is_not(folder, tmp_path, jpegs):
    store = Store.create(tmp_path / "store", "embeddings", {})
    extend_manifest(store, list_source(str(folder)), 5)
    store.write_shard(0, pa.table({"id": [1]}))
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.jpg").write_bytes(jpegs[0])
    with pytest.raises(InputError, match=r"holds the images of .*photos, and none .*others; name"):
        extend_manifest(store, list_source(str(tmp_path / "others")), 5)
    folder.rename(tmp_path / "moved")
    manifest = extend_manifest(store, list_source(str(tmp_path / "moved")), 5).manifest
    assert manifest.num_rows == 12
    assert stored_source(store).url == str(tmp_path / "moved")


def test_a_plan_of_which_no_shard_is_finished_binds_nobody(folder, tmp_path, jpegs):
    store = Store.create(tmp_path / "store", "embeddings", {})
    extend_manifest(store, list_source(str(folder)), 5)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.jpg").write_bytes(jpegs[0])
    manifest = extend_manifest(store, list_source(str(tmp_path / "others")), 5).manifest
    assert manifest["path"].to_pylist() == ["x.jpg"]
    assert read_manifest(store).equals(manifest)


@pytest.mark.parametrize("write", ["hf", "bytes struct", "img2dataset", "one binary column"])
def test_the_usual_image_columns_are_found(tmp_path, jpegs, write):
    structs = [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(jpegs[:2])]
    columns = {
        "hf": {"image": structs, "label": [0, 1]},
        "bytes struct": {"bytes": structs},
        "img2dataset": {"jpg": jpegs[:2], "caption": ["a", "b"], "key": ["0", "1"]},
        "one binary column": {"content": pa.array(jpegs[:2], pa.large_binary())},
    }
    pq.write_table(pa.table(columns[write]), tmp_path / "a.parquet")
    found = everything(list_source(str(tmp_path)))
    assert found["bytes"].to_pylist() == jpegs[:2]
    if "bytes" in write or write == "hf":
        assert found["key"].to_pylist() == ["0.jpg", "1.jpg"]


def test_two_columns_that_may_be_images_are_told(tmp_path, jpegs):
    pq.write_table(pa.table({"one": jpegs[:2], "two": jpegs[:2]}), tmp_path / "a.parquet")
    [told] = plan_manifest(list_source(str(tmp_path)), 5).unusable
    assert "2 columns that may be images (one, two)" in told


def test_a_sources_column_never_takes_the_name_of_ours(tmp_path, jpegs):
    names = ("embedding", "checksum", "signature", "scene", "size", "refused")
    own = {name: [name, name] for name in names}
    pq.write_table(pa.table({"bytes": jpegs[:2]} | own), tmp_path / "a.parquet")
    found = everything(list_source(str(tmp_path)))
    assert found["checksum"].to_pylist() == [checksum(data) for data in jpegs[:2]]
    assert found["refused"].to_pylist() == [None, None]
    for name in own:
        assert found[f"source_{name}"].to_pylist() == [name, name]
    assert not {"embedding", "signature", "scene", "size"} & set(found.column_names)


def test_columns_of_files_are_unified(tmp_path, jpegs):
    pq.write_table(
        pa.table({"bytes": jpegs[:2], "n": pa.array([1, 2], pa.int32())}), tmp_path / "a.parquet"
    )
    pq.write_table(
        pa.table({"bytes": pa.array(jpegs[2:3], pa.large_binary()), "more": ["x"]}),
        tmp_path / "b.parquet",
    )
    pq.write_table(pa.table({"bytes": pa.array([], pa.binary())}), tmp_path / "c.parquet")
    found = everything(list_source(str(tmp_path)), 100)
    assert found["bytes"].to_pylist() == jpegs[:3]
    assert found["n"].to_pylist() == [1, 2, None]
    assert found["more"].to_pylist() == [None, None, "x"]


def read_tars(root):
    listed = list_source(str(root))
    return everything(listed, 1000).select(["key", "bytes", "refused"]).to_pylist()


def test_what_a_damaged_tar_lacks_is_said(tmp_path, jpegs):
    members = {f"{n}.jpg": data for n, data in enumerate(jpegs[:4])}
    write_tar(tmp_path / "whole.tar", members)
    whole = (tmp_path / "whole.tar").read_bytes()
    second = 512 + -(-len(jpegs[0]) // 512) * 512
    end = len(whole) - whole[::-1].find(jpegs[3][::-1][:16])
    flipped = bytearray(whole)
    flipped[second + 3] ^= 4
    damaged = {
        "cut.tar": (whole[: second + 512 + 100], 1, "damaged: "),
        "flipped.tar": (bytes(flipped), 1, "damaged: its end mark is missing"),
        "no-end.tar": (whole[: end + (-end) % 512], 4, "damaged: its end mark is missing"),
        "no-tar.tar": (b"no tar" * 200, 0, "damaged: "),
    }
    for name, (data, there, told) in damaged.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.tar").write_bytes(data)
        *images, last = read_tars(tmp_path / name)
        assert [row["bytes"] for row in images] == jpegs[:there], name
        assert last["refused"].startswith(told), name
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole.tar").rename(tmp_path / "whole" / "whole.tar")
    assert [row["refused"] for row in read_tars(tmp_path / "whole")] == [None] * 4


def test_hard_linked_members_are_images(tmp_path, jpegs):
    write_tar(tmp_path / "a.tar", {"deep/er/a.b.jpg": jpegs[0]})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        link = tarfile.TarInfo("again.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "deep/er/a.b.jpg"
        tar.addfile(link)
    assert [row["bytes"] for row in read_tars(tmp_path)] == [jpegs[0]] * 2


@pytest.mark.parametrize(
    ("own", "keys", "kept"),
    [
        ({"id": ["a", "b"], "key": ["c", "d"]}, ["a", "b"], {"source_key"}),
        ({"id": [-1, 2], "key": ["c", "d"], "path": ["e", "f"]}, ["c", "d"], {"path"}),
        ({"path": pa.array(["e", ""], pa.large_string())}, ["e", "a.parquet#1"], set()),
        ({"path": pa.array(["e", None]).dictionary_encode()}, ["e", "a.parquet#1"], set()),
        ({"key": [1, 2], "id": [0.5, 1.5]}, ["a.parquet#0", "a.parquet#1"], {"source_key"}),
    ],
)
def test_a_tables_own_keys_name_its_images(tmp_path, jpegs, own, keys, kept):
    pq.write_table(pa.table({"bytes": jpegs[:2]} | own), tmp_path / "a.parquet")
    found = everything(list_source(str(tmp_path)))
    assert found["key"].to_pylist() == keys
    assert found["file"].to_pylist() == ["a.parquet"] * 2
    ids = own["id"] if own.get("id") == [-1, 2] else [stable_id(f"a.parquet#{n}") for n in (0, 1)]
    assert found["id"].to_pylist() == ids
    assert kept <= set(found.column_names)


def test_a_setting_names_the_column_of_the_images(tmp_path, jpegs):
    columns = {"small": jpegs[:2], "large": jpegs[2:4], "text": ["a", "b"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = everything(list_source(str(tmp_path), column="large"))
    assert found["bytes"].to_pylist() == jpegs[2:4]
    assert found["small"].to_pylist() == jpegs[:2]
    store = Store.create(tmp_path / "store", "embeddings", {})
    told = {
        "large": None,
        "huge": r"a\.parquet has no column huge; mend source\.image_column$",
        "text": r"a\.parquet has no bytes of images in its column text; mend source\.image_column$",
        None: r"2 columns that may be images \(small, large\) .*name it with source\.image_column$",
    }
    for column, error in told.items():
        if error:
            with pytest.raises(InputError, match=error):
                extend_manifest(store, list_source(str(tmp_path), column=column), 5)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpegs[0])
    with pytest.raises(InputError, match="holds folder, which has no column large; mend"):
        list_source(str(tmp_path / "photos"), column="large")


def flipped_tar(path, images, seed):
    """A tar of images with long names, in any format, of which some bits of headers are flipped."""
    rng = np.random.default_rng(seed)
    form = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[seed % 3]
    with tarfile.open(path, "w", format=form) as tar:
        for number, data in enumerate(images):
            info = tarfile.TarInfo(f"{'x' * (90 if seed % 3 == 0 else 120)}/{number}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        member = tar.getmembers()[rng.integers(10)]
    data = bytearray(path.read_bytes())
    heads = (member.offset, member.offset_data), (member.offset + 512, member.offset_data - 512)
    for _ in range(rng.integers(1, 4)):
        first, stop = heads[seed % 2] if seed % 3 else heads[0]
        place = rng.integers(0, len(data)) if seed % 5 == 0 else rng.integers(first, stop)
        data[place] ^= 1 << rng.integers(8)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(42))
def test_no_flipped_bit_of_a_tar_loses_an_image_without_a_word(tmp_path, jpegs, seed):
    flipped_tar(tmp_path / "a.tar", jpegs[:10], seed)
    rows = read_tars(tmp_path)
    there = sum(row["refused"] is None for row in rows)
    assert there == 10 or any(row["refused"] for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)


def test_names_of_members_that_are_not_utf8_or_come_twice(tmp_path, jpegs):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name, data in zip(("caf\xe9.jpg", "1.jpg", "1.jpg"), jpegs, strict=False):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    name, replaced, last = read_tars(tmp_path)
    assert (name["key"], name["bytes"]) == ("a.tar/caf\\xe9.jpg", jpegs[0])
    assert replaced["refused"] == "replaced: a later member of the tar has its name"
    assert (last["key"], last["bytes"]) == ("a.tar/1.jpg", jpegs[2])
