import numpy as np
import pytest

from pipeline.core.store import Store
from pipeline.index.coarse_codes import (
    CODE_BYTES,
    CoarseCoder,
    _coder,
    train_codes,
    unpacked,
)


def collection(rows, dimensions, falling):
    """Unit vectors whose principal components fall by a factor of e in so many dimensions."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(rows, dimensions)) * np.exp(-np.arange(dimensions) / falling)
    vectors += rng.normal(size=dimensions) / 50
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.mark.parametrize(
    ("dimensions", "falling", "bits", "size"),
    [(1, 9, 8, 1), (3, 9, 8, 3), (300, 9, 8, 64), (300, 30, 4, 64), (300, 200, 2, 64)],
)
def test_many_components_have_few_bits_each(dimensions, falling, bits, size):
    vectors = collection(1000, dimensions, falling)
    coder = train_codes(vectors, 0)
    assert coder.bits == bits
    assert coder.codes(vectors).shape == (1000, size)
    assert size <= CODE_BYTES
    step, offset = coder.estimating(vectors[:50])
    products = coder.queries(vectors[:50]) @ unpacked(coder.codes(vectors), coder.bits).T
    away = products * step[:, None] + offset[:, None] - vectors[:50] @ vectors.T
    assert np.abs(away).mean() < 0.02


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_products_are_whole_numbers_that_float32_holds(bits):
    vectors = collection(100, 256, 40)
    axes = np.eye(256)
    coder = _coder(vectors, vectors.mean(axis=0, dtype=np.float64), axes, bits, 0)
    asked, codes = coder.queries(vectors), unpacked(coder.codes(3 * vectors), bits)
    whole = asked.astype(np.int64) @ codes.astype(np.int64).T
    assert np.array_equal(asked @ codes.T, whole)
    assert np.abs(asked).sum(axis=1).max() * (2**bits - 1) < 2**24
    assert set(np.unique(codes)) <= set(range(1 - 2**bits, 2**bits, 2))
    assert np.abs(codes).max() == 2**bits - 1  # what lies beyond is clipped, not wrapped around


def test_rare_kinds_are_seen_too():
    """The common kinds fill the leading components; rare ones lie where those are blind."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(264, 400)) / 20
    common, rare = rng.integers(64, size=3600), rng.integers(64, 264, size=400)
    vectors = kinds[np.concatenate([common, rare])] + rng.normal(size=(4000, 400)) / 25
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    coder, same = train_codes(vectors, 0), rare[:, None] == rare
    codes = unpacked(coder.codes(vectors), coder.bits)
    products = coder.queries(vectors[3600:]) @ codes.T
    least = np.partition(products, -20, axis=1)[:, -20, None]
    assert (products[:, 3600:] >= least)[same].mean() > 0.99


def test_a_coder_is_kept(tmp_path):
    store, vectors = Store.create(tmp_path, "index", {}), collection(100, 20, 5)
    coder = train_codes(vectors, 0)
    coder.attach(store)
    kept = CoarseCoder.required(store)
    assert np.array_equal(kept.codes(vectors), coder.codes(vectors))
    assert np.array_equal(kept.queries(vectors), coder.queries(vectors))
