import os
import zipfile
from collections import Counter

import fsspec
import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.images.listing import list_files
from pipeline.images.manifest import extend_manifest, plan_manifest, stored_source
from pipeline.images.reader import read_shard
from pipeline.images.source import list_source

LOCAL = fsspec.filesystem("file")


def listed(root, *exclude):
    found = list_files(LOCAL, str(root), exclude)
    return found.files["path"].to_pylist(), dict(found.left_out)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_names_are_literal(tmp_path, jpegs):
    names = ["2024 [trip]/a.jpg", "[artist] title.jpg", "photo1.jpg", "photo[1].jpg", "star*.jpg"]
    names += ["what?.jpg", "new\nline.jpg", "#1.jpg", "100%.jpg", "~.jpg"]
    for name, data in zip(names, jpegs, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = list_source(str(tmp_path))
    manifest = plan_manifest(source, 100).manifest
    rows = read_shard(source.source, manifest, 0).to_pylist()
    assert {row["key"]: row["bytes"] for row in rows} == dict(zip(names, jpegs, strict=False))


def test_hidden_files_thumbnails_and_what_is_excluded_are_counted(tmp_path):
    touch(
        tmp_path, "a.jpg", ".b.jpg", ".git/c.jpg", "@eaDir/d.jpg", "x/__MACOSX/e.jpg", "raw/f.jpg"
    )
    touch(tmp_path, "deep/.thumbs/g.jpg", "keep/raw.jpg")
    files, left_out = listed(tmp_path, "raw/*")
    assert files == ["a.jpg", "keep/raw.jpg"]
    assert left_out == {
        "hidden": 2,
        "in a folder of thumbnails": 3,
        "excluded by source.exclude": 1,
    }


def test_broken_links_and_odd_names_are_told_and_the_rest_is_listed(tmp_path):
    touch(tmp_path, "a.jpg")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "broken.jpg")
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.jpg")
    files, left_out = listed(tmp_path)
    assert files == ["a.jpg"]
    assert left_out == {"a broken link": 1, "a name that is not UTF-8": 1, "no ordinary file": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        files, left_out = listed(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert (files, left_out) == (
        ["a.jpg"],
        {"a folder that cannot be read (Permission denied)": 1},
    )


def test_two_names_of_one_file_are_one_image_and_a_link_is_not_its_name(tmp_path):
    touch(tmp_path, "m.jpg", "z.jpg")
    os.symlink(tmp_path / "m.jpg", tmp_path / "a-link.jpg")
    os.link(tmp_path / "z.jpg", tmp_path / "b-hard.jpg")
    files, left_out = listed(tmp_path)
    assert files == ["b-hard.jpg", "m.jpg"]
    assert left_out == {"another name of a file listed already": 2}


def test_linked_folders_are_entered_once(tmp_path):
    touch(tmp_path, "outside/c.jpg", "photos/inside/d.jpg")
    photos = tmp_path / "photos"
    os.symlink(tmp_path / "outside", photos / "a-link")
    os.symlink(photos, photos / "inside" / "loop")
    os.symlink(photos / "inside", photos / "again")
    files, left_out = listed(photos)
    assert files == ["a-link/c.jpg", "inside/d.jpg"]
    assert left_out == {"another name of a folder listed already": 2}


def test_a_zip_a_file_url_and_a_single_file_are_sources(tmp_path, jpegs):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.jpg").write_bytes(jpegs[0])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "cats" / "a.jpg", "cats/a.jpg")
    urls = {
        f"zip://::{tmp_path}/photos.zip": "cats/a.jpg",
        f"file://{tmp_path}/cats": "a.jpg",
        f"{tmp_path}/cats/a.jpg": "a.jpg",
    }
    for url, key in urls.items():
        source = list_source(url)
        [row] = read_shard(source.source, plan_manifest(source, 5).manifest, 0).to_pylist()
        assert (row["key"], row["bytes"]) == (key, jpegs[0])


def test_other_suffixes_are_counted(tmp_path):
    touch(tmp_path, "a.jpg", "B.JPEG", "notes.txt", "more.TXT", "README")
    source = list_source(str(tmp_path))
    assert source.files["path"].to_pylist() == ["B.JPEG", "a.jpg"]
    assert source.left_out == Counter({".txt suffix": 2, "without a suffix": 1})
    with pytest.raises(InputError, match="holds no images"):
        list_source(str(tmp_path), "webdataset")


def test_several_folders_are_one_source(tmp_path, jpegs):
    for number, name in enumerate(("a/x.jpg", "a/deep/y.jpg", "b/x.jpg", "c/z.jpg")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpegs[number])
    os.link(tmp_path / "a" / "x.jpg", tmp_path / "b" / "again.jpg")
    a, b, c = (str(tmp_path / name) for name in "abc")
    listed = list_source([a, b, f"{c}/z.jpg", f"{a}/deep"])
    manifest = plan_manifest(listed, 100).manifest
    rows = read_shard(listed.source, manifest, 0).to_pylist()
    assert {row["key"]: row["bytes"] for row in rows} == {
        "x.jpg": jpegs[0],
        "deep/y.jpg": jpegs[1],
        f"{b}/x.jpg": jpegs[2],
        f"{c}/z.jpg": jpegs[3],
    }
    assert listed.left_out == {"another name of a file listed already": 2}
    alone = plan_manifest(list_source(a), 100).manifest
    grown = plan_manifest(list_source([a, b]), 100, alone).manifest
    assert grown.slice(0, 2).equals(alone)
    assert grown["path"].to_pylist()[2:] == [f"{b}/x.jpg"]


def test_several_folders_of_another_filesystem(jpegs):
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/{name}": data for name, data in zip(("a/1.jpg", "b/1.jpg"), jpegs, strict=False)})
    try:
        listed = list_source(["memory://a", "memory://b", "memory://a/1.jpg"])
        manifest = plan_manifest(listed, 5).manifest
        rows = read_shard(listed.source, manifest, 0)
    finally:
        fs.rm("/a", recursive=True)
        fs.rm("/b", recursive=True)
    assert rows["key"].to_pylist() == ["/b/1.jpg", "1.jpg"]
    assert rows["bytes"].to_pylist() == [jpegs[1], jpegs[0]]


def test_folders_that_are_no_one_source_are_told(tmp_path, jpegs):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with pytest.raises(InputError, match="b is not there"):
        list_source([a, f"{tmp_path}/nowhere/b"])
    fsspec.filesystem("memory").pipe("/m/1.jpg", jpegs[0])
    with pytest.raises(InputError, match="cannot be one source: one on another filesystem"):
        list_source([a, "memory://m"])
    store = Store.create(tmp_path / "store", "embeddings", {})
    extend_manifest(store, list_source([a]), 5)
    store.write_shard(0, pa.table({"id": [1]}))
    with pytest.raises(InputError, match=r"holds the images of .*/a; name .*/a first"):
        extend_manifest(store, list_source([b, a]), 5)
    with pytest.raises(InputError, match=r"none of them is in .*/b; name both, or another output"):
        extend_manifest(store, list_source([b]), 5)
    extend_manifest(store, list_source([a, b]), 5)
    assert stored_source(store).urls == (a, b)
