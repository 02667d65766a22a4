import numpy as np
import pytest

from pipeline.core.errors import StoreError
from pipeline.core.store import Store
from pipeline.index.grid import Grid, whole_space
from pipeline.index.hashing import train_hash
from pipeline.index.ivf import train_ivf

TRAINERS = [train_ivf, train_hash]


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(30, 20))[rng.integers(30, size=900)] + rng.normal(size=(900, 20)) / 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("train", TRAINERS)
def test_the_same_sample_gives_the_same_bits(vectors, train):
    one, other = (train(vectors, 32, seed=5) for _ in range(2))
    assert one.cells.tobytes() == other.cells.tobytes()
    assert one.projection.tobytes() == other.projection.tobytes()


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize("count", [1, 3, 20, 32])
def test_a_bucket_does_not_depend_on_the_batch(vectors, train, count):
    grid = train(vectors, 32, seed=0)
    together = grid.nearest(vectors, count)
    parts = [grid.nearest(part, count) for part in np.array_split(vectors, 37)]
    assert np.array_equal(together, np.concatenate(parts))
    whole = grid.nearest(vectors, grid.buckets)
    assert np.array_equal(whole[:, :count], together)
    assert np.array_equal(np.sort(whole, axis=1)[0], np.arange(grid.buckets))


def test_the_nearest_cell_is_the_nearest_centroid(vectors):
    grid = train_ivf(vectors, 16, 0)
    scores = vectors.astype(np.float64) @ grid.cells.T.astype(np.float64)
    assert np.array_equal(grid.nearest(vectors, 1)[:, 0], scores.argmax(axis=1))


def test_hash_buckets_are_signs_and_the_next_flips_the_weakest_bit(vectors):
    grid = train_hash(vectors, 32, 0)
    seen = vectors.astype(np.float64) @ grid.projection.astype(np.float64) - grid.offset
    bits = (seen > 0).astype(int) @ (1 << np.arange(5)[::-1])
    first, second = grid.nearest(vectors, 2).T
    assert np.array_equal(first, bits)
    weakest = 1 << (4 - np.abs(seen).argmin(axis=1))
    assert np.array_equal(first ^ second, weakest)


def test_neighbouring_cells_are_near(vectors):
    cells = train_ivf(vectors, 32, 0).cells
    beside = (cells[1:] * cells[:-1]).sum(axis=1).mean()
    assert beside > (cells @ cells.T).mean()


def test_fewer_vectors_than_buckets(vectors):
    assert train_ivf(vectors[:3], 10, 0).buckets == 3
    assert (whole_space(20).nearest(vectors[:4], 3) == 0).all()


@pytest.mark.parametrize("train", TRAINERS)
def test_a_grid_is_kept_with_checksums(vectors, tmp_path, train):
    store = Store.create(tmp_path, "index", {})
    with pytest.raises(StoreError, match="has no grid; run sluice index again"):
        Grid.required(store)
    grid = train(vectors, 16, 0)
    grid.attach(store)
    kept = Grid.required(store)
    assert np.array_equal(kept.nearest(vectors, 4), grid.nearest(vectors, 4))
    (tmp_path / "attached" / "cells.npy").write_bytes(b"x")
    with pytest.raises(StoreError, match="recorded checksum"):
        Grid.attached(store)
