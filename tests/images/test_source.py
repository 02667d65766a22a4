import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import InputError, StoreError
from pipeline.core.ids import stable_id
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.manifest import (
    MANIFEST,
    UNITS,
    kept_manifest,
    plan_manifest,
    read_manifest,
    refuse_repeated_ids,
)
from pipeline.images.reader import read_shard
from pipeline.images.source import open_source
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


def everything(source, shard_rows=5):
    manifest = plan_manifest(source, shard_rows)
    shards = sorted(set(manifest["shard"].to_pylist()))
    assert shards == list(range(len(shards)))
    return pa.concat_tables([read_shard(source, manifest, shard) for shard in shards])


def test_folder(folder, jpegs):
    table = everything(open_source(str(folder)))
    assert set(table["bytes"].to_pylist()) == set(jpegs)
    assert table["key"][0].as_py() == "cats/01.jpg"
    assert table["label"][0].as_py() == "cats"
    assert table["id"][0].as_py() == stable_id("cats/01.jpg")


def test_shards_hold_about_what_is_asked_for(folder):
    manifest = plan_manifest(open_source(str(folder)), 5)
    assert [manifest["shard"].to_pylist().count(shard) for shard in range(3)] == [5, 5, 2]


def test_another_filesystem(jpegs):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe({f"/source/{number}.jpg": data for number, data in enumerate(jpegs)})
    try:
        assert everything(open_source("memory://source"))["bytes"].to_pylist()[0] == jpegs[0]
    finally:
        fs.rm("/source", recursive=True)


def test_webdataset(tmp_path, jpegs):
    members = {f"{n:03d}.jpg": data for n, data in enumerate(jpegs[:4])}
    write_tar(tmp_path / "a.tar", members | {"002.cls": b"7"})
    write_tar(tmp_path / "b.tar", {"x/y.jpeg": jpegs[5]})
    source = open_source(str(tmp_path))
    table = everything(source, 1000)
    assert source.kind == "webdataset"
    assert table["key"].to_pylist()[-1] == "b.tar/x/y.jpeg"
    assert table["label"].to_pylist() == ["", "", "7", "", ""]
    assert plan_manifest(source, 1000)["rows"].to_pylist() == [4, 1]


def test_parquet_keeps_its_ids_and_columns(tmp_path, jpegs):
    table = pa.table({"id": range(100, 112), "bytes": jpegs, "colour": ["red"] * 12})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    found = everything(open_source(str(tmp_path)))
    assert found["id"].to_pylist() == list(range(100, 112))
    assert found["bytes"].to_pylist() == jpegs
    assert found["key"].to_pylist()[5] == "a.parquet#5"
    assert found.column_names == ["id", "key", "bytes", "colour"]


def test_parquet_without_ids_gets_stable_ones(tmp_path, jpegs):
    pq.write_table(pa.table({"bytes": jpegs}), tmp_path / "a.parquet", row_group_size=4)
    assert everything(open_source(str(tmp_path)))["id"][5].as_py() == stable_id("a.parquet#5")


def test_a_repeated_id_is_refused(tmp_path, jpegs):
    pq.write_table(pa.table({"id": [1] * 12, "bytes": jpegs}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path))
    with pytest.raises(InputError, match="more than once"):
        refuse_repeated_ids(source, plan_manifest(source, 5))


def test_a_grown_source_gets_new_shards_and_keeps_the_old(folder, jpegs):
    source = open_source(str(folder))
    before = plan_manifest(source, 5)
    (folder / "a-new-one.jpg").write_bytes(jpegs[0])
    after = plan_manifest(source, 5, before)
    assert after.slice(0, before.num_rows).equals(before)
    assert after.slice(before.num_rows).select(["shard", "path"]).to_pylist() == [
        {"shard": 3, "path": "a-new-one.jpg"}
    ]


def test_a_changed_file_is_told_a_gone_one_keeps_its_place(folder):
    source = open_source(str(folder))
    before = plan_manifest(source, 5)
    (folder / "cats" / "01.jpg").write_bytes(b"other")
    with pytest.raises(InputError, match=r"1 file\(s\).* have changed.*cats/01.jpg"):
        plan_manifest(source, 5, before)
    (folder / "cats" / "01.jpg").unlink()
    assert plan_manifest(source, 5, before).equals(before)
    assert read_shard(source, before, 0)["bytes"].to_pylist().count(None) == 1


def test_what_is_no_source_is_told(tmp_path, jpegs):
    with pytest.raises(InputError, match="is not a folder"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no images"):
        open_source(str(tmp_path))
    with pytest.raises(InputError, match="cannot be opened"):
        open_source("nosuchprotocol://x")
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match="webdataset and folder"):
        open_source(str(tmp_path))
    with pytest.raises(InputError, match="is not a tar"):
        plan_manifest(open_source(str(tmp_path), "webdataset"), 5)
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="is not Parquet"):
        plan_manifest(open_source(str(tmp_path), "parquet"), 5)


def test_an_unfinished_store_is_no_source_yet(tmp_path):
    store = Store.create(tmp_path / "store", "corpus", {})
    with pytest.raises(InputError, match=r"is not finished .*; run sluice corpus again: it res"):
        open_source(str(store.root))
    (store.root / "store.json").write_bytes(b"no JSON")
    with pytest.raises(InputError, match="run the command that made it again"):
        open_source(str(store.root))


def test_a_changed_byte_in_a_source_of_our_own_is_told(tmp_path, jpegs):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_bytes(pa.table({"bytes": pa.array(jpegs, pa.binary())})))
    source = open_source(str(tmp_path))
    manifest = plan_manifest(source, 100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
        read_shard(source, manifest, 0)


def test_the_manifest_is_kept_in_the_store(folder, tmp_path):
    planned = plan_manifest(open_source(str(folder)), 5)
    store = Store.create(tmp_path / "store", "embeddings", {})
    assert kept_manifest(store) is None
    with pytest.raises(InputError, match="is not begun; run sluice embed first"):
        read_manifest(store)
    store.write_shard(0, pa.table({"id": [1]}))
    with pytest.raises(
        StoreError, match=f"lacks attached/{MANIFEST}; delete .* run sluice embed again"
    ):
        read_manifest(store)
    store.attach(MANIFEST, parquet_bytes(planned))
    assert read_manifest(store).equals(planned)
    store.attach(MANIFEST, parquet_bytes(planned.rename_columns([f"{n}_" for n in UNITS.names])))
    with pytest.raises(StoreError, match=f"{MANIFEST} of .* has columns of another kind; delete"):
        read_manifest(store)
