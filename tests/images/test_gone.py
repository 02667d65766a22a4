from jobs.embed import embed
from jobs.search import search
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
