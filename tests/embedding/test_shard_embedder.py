import time
from threading import Event
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.embedding import shard_embedder
from pipeline.embedding.shard_embedder import EmbedPlan, embed_images
from pipeline.embedding.transform import Transform
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_batches
from pipeline.images.source import list_source
from pipeline.images.squares import decode_squares


def table(data):
    return (
        pa.table({"id": range(len(data)), "key": [f"k{n}" for n in range(len(data))]})
        .append_column("bytes", pa.array(data, pa.binary()))
        .append_column("refused", pa.nulls(len(data), pa.string()))
    )


def mean_colour(pixels):
    return pixels.mean(axis=(1, 2)).astype(np.float32)


def test_bad_images_are_quarantined_and_the_rest_keep_their_rows(jpegs):
    data = [jpegs[0], b"", jpegs[1], b"text", None, jpegs[2], jpegs[3][:900]]
    images = table(data).append_column("label", pa.array([f"l{n}" for n in range(7)]))
    kept, refused = embed_images(
        [images.slice(0, 3), images.slice(3, 3), images.slice(6)], mean_colour, 32, dimensions=3
    )
    assert kept["id"].to_pylist() == [0, 2, 5]
    assert kept["label"].to_pylist() == ["l0", "l2", "l5"]
    assert (kept["width"][0].as_py(), kept["height"][0].as_py()) == (200, 150)
    reasons = dict(zip(refused["id"].to_pylist(), refused["reason"].to_pylist(), strict=True))
    assert reasons == {1: "empty", 3: "not-an-image", 4: "empty", 6: "truncated"}
    alone = mean_colour(decode_squares(table([jpegs[2]]), 32).pixels)
    assert np.array_equal(embedding_matrix(kept["embedding"])[2], alone[0])


def test_a_shard_of_only_bad_images_is_an_empty_one():
    kept, refused = embed_images([table([b"", b"no"])], mean_colour, 32, dimensions=3)
    assert kept.num_rows == 0
    assert kept["embedding"].type.list_size == 3
    assert refused.num_rows == 2


def test_a_plan_writes_shards_and_tells_where_their_time_went(tmp_path, jpegs):
    (tmp_path / "photos").mkdir()
    for number, data in enumerate([*jpegs[:5], b"no image"]):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    listed = list_source(str(tmp_path / "photos"))
    source, manifest = listed.source, plan_manifest(listed, 3).manifest
    store = Store.create(tmp_path / "store", "embeddings", {})

    def slow_colour(pixels):
        time.sleep(0.02)
        return mean_colour(pixels)

    settings = SimpleNamespace(input_size=32, batch_size=2, transform=Transform())
    encoder = SimpleNamespace(settings=settings, dimensions=3, start=lambda: slow_colour)
    began = time.time()
    told = pa.concat_tables(in_process(EmbedPlan(source, manifest, store.root, encoder), [0, 1]))
    ended = time.time()
    assert [entry.rows for entry in store.finish(2)] == [3, 2]
    assert store.read(1)["key"].to_pylist() == ["3.jpg", "4.jpg"]
    assert told.select(["shard", "rows", "quarantined"]).to_pylist() == [
        {"shard": 0, "rows": 3, "quarantined": 0},
        {"shard": 1, "rows": 3, "quarantined": 1},
    ]
    assert told["bytes"][0].as_py() == sum(len(data) for data in jpegs[:3])
    for row, batches in zip(told.to_pylist(), (2, 1), strict=True):
        parts = [row[f"{name}_seconds"] for name in ("read", "model", "waiting", "write")]
        assert min(parts) > 0
        assert sum(parts[1:3]) <= row["ended"] - row["started"]  # others read and write
        assert row["model_seconds"] >= batches * 0.02
        assert began <= row["actor_started"] <= row["started"] <= row["ended"] <= ended


def test_the_next_shard_is_read_and_the_last_one_written_while_one_is_embedded(
    tmp_path, jpegs, monkeypatch
):
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(jpegs[:6]):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    listed = list_source(str(tmp_path / "photos"))
    source, manifest = listed.source, plan_manifest(listed, 2).manifest
    store = Store.create(tmp_path / "store", "embeddings", {})
    read, embedded = [Event() for _ in range(3)], [Event() for _ in range(3)]
    waited = []

    def noting(source, manifest, shard, rows):
        for batch in read_batches(source, manifest, shard, rows):
            assert shard == 0 or embedded[shard - 1].wait(20)  # else it might have its turn first
            read[shard].set()
            yield batch

    def colour(pixels):
        shard = len(waited)
        embedded[shard].set()
        waited.append(shard == 2 or read[shard + 1].wait(20))
        return mean_colour(pixels)

    def write(self, shard, *tables):
        waited_to_write.append(shard == 2 or embedded[shard + 1].wait(20))
        return written(self, shard, *tables)

    waited_to_write, written = [], Store.write_shard
    monkeypatch.setattr(shard_embedder, "read_batches", noting)
    monkeypatch.setattr(Store, "write_shard", write)
    settings = SimpleNamespace(input_size=32, batch_size=4, transform=Transform())
    encoder = SimpleNamespace(settings=settings, dimensions=3, start=lambda: colour)
    answers = in_process(EmbedPlan(source, manifest, store.root, encoder), [0, 1, 2])
    assert [answer["shard"][0].as_py() for answer in answers] == [0, 1, 2]
    assert waited == waited_to_write == [True] * 3
    assert [entry.rows for entry in store.finish(3)] == [2, 2, 2]


def test_the_network_is_given_full_batches_whatever_few_images_come_at_once(jpegs):
    given = []

    def noting(pixels):
        given.append(len(pixels))
        return mean_colour(pixels)

    data = [*jpegs[:3], b"no image", *jpegs[3:9]]
    images = table(data)
    few = [images.slice(row, 2) for row in range(0, len(data), 2)]
    kept, _ = embed_images(few, noting, 32, dimensions=3, at_once=4)
    assert given == [4, 4, 1]
    whole, _ = embed_images([images], mean_colour, 32, dimensions=3)
    assert kept.equals(whole)


def test_an_image_of_which_the_network_has_nothing_to_say_is_quarantined(jpegs):
    def without_second(pixels):
        vectors = mean_colour(pixels)
        vectors[1] = np.nan
        return vectors

    images = table(jpegs[:4]).append_column("file", pa.array([f"{n}.jpg" for n in range(4)]))
    kept, refused = embed_images([images], without_second, 32, dimensions=3)
    assert kept["id"].to_pylist() == [0, 2, 3]
    (row,) = refused.to_pylist()
    assert (row["id"], row["key"], row["file"]) == (1, "k1", "1.jpg")
    assert row["reason"] == "no-embedding"
