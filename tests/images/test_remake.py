import pyarrow as pa

from pipeline.core.store import Store
from pipeline.images.manifest import MANIFEST, extend_manifest
from pipeline.images.remake import manifests_again
from pipeline.images.source import list_source


def grown(store, folder, names):
    """Put files into ``folder``, and what is new of it into the shards of ``store``."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    units = extend_manifest(store, list_source(str(folder)), 2).manifest
    done = {entry.shard for entry in store.entries()}
    new = {unit["shard"]: [] for unit in units.to_pylist() if unit["shard"] not in done}
    for unit in units.to_pylist():
        new.get(unit["shard"], []).append(unit["path"])
    for shard, files in new.items():
        store.write_shard(shard, pa.table({"file": files}))
    store.finish(len(done) + len(new))


def test_the_list_of_a_grown_source_is_made_again_by_what_its_shards_hold(tmp_path):
    folder, store = tmp_path / "photos", Store.create(tmp_path / "store", "signatures", {})
    grown(store, folder, ["b.jpg", "d.jpg", "f.jpg"])
    grown(store, folder, ["a.jpg", "x/c.jpg", "e.jpg"])
    whole = store.attached(MANIFEST)
    (folder / "aa.jpg").write_bytes(b"since")
    assert next(manifests_again(store, list_source(str(folder)), 7)) == whole
    (folder / "b.jpg").write_bytes(b"another")
    assert whole not in manifests_again(store, list_source(str(folder)), 7)


def test_a_list_is_made_again_also_where_a_shard_is_damaged(tmp_path):
    folder, store = tmp_path / "photos", Store.create(tmp_path / "store", "signatures", {})
    grown(store, folder, ["a.jpg", "b.jpg", "c.jpg"])
    store.shards.path(1).write_bytes(b"")
    assert store.attached(MANIFEST) in manifests_again(store, list_source(str(folder)), 7)
