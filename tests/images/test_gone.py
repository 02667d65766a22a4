import pytest

from jobs.embed import embed
from jobs.search import search
from pipeline.core.errors import InputError
from pipeline.core.files import checksum
from pipeline.core.store import Store
from tests.helpers.files import digests
from tests.helpers.main_way import config


def test_an_image_that_leaves_the_source_leaves_the_results(tmp_path, jpegs):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, data in enumerate(jpegs):
        (photos / f"{number:02d}.jpg").write_bytes(data)
    settings = config(
        tmp_path,
        f"source.url={photos}",
        "source.shard_rows=5",
        "search.sample_queries=3",
        "search.queries=[]",
        "ray.workers=0",
    )
    embed(settings)
    store = tmp_path / "embeddings"
    whole = digests(store)
    (photos / "03.jpg").rename(tmp_path / "03.jpg")
    embed(settings)
    rest = Store.open(store)
    assert (rest.images(), len(rest.tombstones())) == (11, 1)
    assert "03.jpg" not in rest.read(0)["key"].to_pylist()
    assert {name: d for name, d in digests(store).items() if name in whole} == whole
    assert list(rest.problems()) == []
    search(settings)
    (tmp_path / "03.jpg").rename(photos / "03.jpg")
    embed(settings)
    assert Store.open(store).images() == 12


def test_a_changed_image_takes_the_place_of_what_it_was(tmp_path, jpegs):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, data in enumerate(jpegs[:6]):
        (photos / f"{number:02d}.jpg").write_bytes(data)
    settings = config(tmp_path, f"source.url={photos}", "source.shard_rows=5", "ray.workers=0")
    embed(settings)
    [before] = rows_of(tmp_path / "embeddings", "03.jpg")
    (photos / "03.jpg").write_bytes(jpegs[7])
    embed(settings)
    [after] = rows_of(tmp_path / "embeddings", "03.jpg")
    assert after["id"] != before["id"]
    assert after["checksum"] == checksum(jpegs[7])
    assert Store.open(tmp_path / "embeddings").images() == 6
    embed(settings)
    assert rows_of(tmp_path / "embeddings", "03.jpg") == [after]
    anew = config(tmp_path / "anew", f"source.url={photos}", "source.shard_rows=5", "ray.workers=0")
    embed(anew)
    [fresh] = rows_of(tmp_path / "anew" / "embeddings", "03.jpg")
    assert fresh["embedding"] == after["embedding"]


def rows_of(store, key):
    store = Store.open(store)
    rows = [row for entry in store.manifest() for row in store.read(entry.shard).to_pylist()]
    return [row for row in rows if row["key"] == key]


def test_a_source_whose_files_are_all_others_is_refused_and_changes_nothing(tmp_path, jpegs):
    for folder, data in (("photos", jpegs[0]), ("others", jpegs[1])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.jpg").write_bytes(data)
    embed(config(tmp_path, f"source.url={tmp_path}/photos", "ray.workers=0"))
    whole = digests(tmp_path / "embeddings")
    with pytest.raises(InputError, match=r"holds the images of .*/photos, and none of them is in"):
        embed(config(tmp_path, f"source.url={tmp_path}/others", "ray.workers=0"))
    assert digests(tmp_path / "embeddings") == whole
