from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.embedding.embed_source import embed_source
from pipeline.embedding.kept_loss import precision_loss
from pipeline.embedding.models import find_weights
from pipeline.embedding.precision_loss import LEAST, kept_neighbours, measure_loss
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.source import list_source
from pipeline.search.batches import exact_loss
from tests.helpers.images import jpeg_bytes

WEIGHTS = find_weights("efficientnet_lite0", None)
F32 = EncoderSettings("efficientnet_lite0", WEIGHTS, "openvino", "f32", 64, 1)
INT8 = replace(F32, precision="int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("photos")
    tiles = [
        p[y : y + 80, x : x + 80]
        for p in photos
        for y in range(0, 200, 40)
        for x in range(0, 200, 40)
    ]
    for number, tile in enumerate(tiles[: LEAST + 6]):
        (root / f"{number:03}.jpg").write_bytes(jpeg_bytes(np.ascontiguousarray(tile)))
    return root


def embedded(root, folder, name="store", noise=0.0):
    """A store whose vectors are those of f32, but for ``noise``; its name says int8."""
    listed = list_source(str(folder))
    identity = {"precision": "int8", "model": "efficientnet_lite0"}
    store = Store.create(root / name, "embeddings", identity)
    record = RunRecord("embed", 0, 0)
    embed_source(store, listed, 40, F32, in_process, record)
    rng = np.random.default_rng(0)
    for entry in store.manifest() if noise else ():
        table = store.read(entry.shard)
        vectors = embedding_matrix(table["embedding"])
        moved = vectors + noise * rng.standard_normal(vectors.shape).astype(np.float32)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        place = table.column_names.index("embedding")
        store.write_shard(
            entry.shard, table.set_column(place, "embedding", embedding_column(moved))
        )
    if noise:
        store.finish(len(store.manifest()))
    return Store.open(store.root), listed.source


def test_vectors_that_are_f32s_lose_nothing_and_others_what_their_noise_costs(tmp_path, folder):
    same, source = embedded(tmp_path, folder)
    images = same.images()
    loss = measure_loss(same, source, INT8)
    assert (loss.images, loss.recall) == (images, 1.0)
    noisy, source = embedded(tmp_path, folder, "noisy", noise=0.02)
    assert 0.2 < measure_loss(noisy, source, INT8).recall < 0.95


def test_an_exact_search_says_what_its_vectors_lost(tmp_path, folder):
    store, source = embedded(tmp_path, folder)
    assert "f32" not in exact_loss(store)
    loss = measure_loss(store, source, INT8)
    assert precision_loss(Store.open(store.root)) == loss
    assert f"10 nearest are 1.000 of f32's on {loss.images} of its images" in exact_loss(store)


def test_it_is_measured_once_and_not_of_f32_or_of_changed_images(tmp_path, folder, monkeypatch):
    store, source = embedded(tmp_path, folder)
    assert measure_loss(store, source, F32) is None
    loss = measure_loss(store, source, INT8)
    monkeypatch.setattr("pipeline.embedding.precision_loss.build_encoder", None)
    assert measure_loss(store, source, INT8) == loss


def test_images_changed_since_are_left_out(tmp_path, folder, jpegs):
    mine = tmp_path / "photos"
    mine.mkdir()
    for path in folder.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    store, source = embedded(tmp_path, mine)
    (mine / "003.jpg").write_bytes(jpegs[0])
    assert measure_loss(store, source, INT8).images == store.images() - 1


def test_kept_neighbours_counts_those_of_both():
    angles = np.deg2rad([0, 10, 21, 90, 101, 113])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    turned = vectors[[0, 1, 3, 2, 4, 5]]  # two images have each other's vectors
    assert kept_neighbours(vectors, vectors, 2) == 1.0
    assert kept_neighbours(vectors, turned, 2) == pytest.approx(4 / 12)
