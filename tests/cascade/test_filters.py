import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from pipeline.cascade.filters import (
    COMPONENTS,
    LENGTH,
    directions,
    fit_filter,
    fit_space,
)
from pipeline.cascade.stages.rough import rough_levels


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    """Embeddings, and signatures that are a noisy linear view of them."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(900, 12))
    vectors = unit(hidden @ rng.normal(size=(12, 160)) + 0.05 * rng.normal(size=(900, 160)))
    seen = hidden @ rng.normal(size=(12, 80)) * 12 + rng.normal(size=(900, 80)) * 4
    return np.clip(np.rint(seen + 128), 0, 255).astype(np.uint8), vectors


@pytest.fixture(scope="module")
def fitted(images):
    features, vectors = images
    space = fit_space(vectors[:400])
    return space, fit_filter(features[:400], vectors[:400], space)


def test_the_filter_finds_neighbours_it_was_not_fitted_on(images, fitted):
    features, vectors = (part[400:] for part in images)
    space, learned = fitted
    true = vectors @ vectors.T
    np.fill_diagonal(true, -9)
    nearest = true.argmax(axis=1)
    for asked in (space.codes(vectors), learned.codes(features)):
        scores = asked @ learned.codes(features).T
        np.fill_diagonal(scores, -np.inf)
        rank = (scores > scores[np.arange(500), nearest][:, None]).sum(axis=1)
        assert (rank < 50).mean() > 0.9


def test_a_code_has_the_same_bits_in_any_batch(images, fitted):
    features, vectors = images
    space, learned = fitted
    for codes, values in ((learned.codes, features), (space.codes, vectors)):
        together = codes(values)
        for start, stop in ((0, 1), (17, 19), (300, 640)):
            assert np.array_equal(codes(values[start:stop]), together[start:stop])


def test_another_sample_gives_a_space_of_another_name(images, fitted):
    _, vectors = images
    assert fit_space(vectors[:400]).checksum == fitted[0].checksum
    assert fit_space(vectors[100:500]).checksum != fitted[0].checksum


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_products_of_codes_are_exact(seed, rows):
    rng = np.random.default_rng(seed)
    codes = directions(rng.normal(size=(rows, COMPONENTS)) ** 3)
    assert np.array_equal(codes, np.trunc(codes))
    exact = codes.astype(np.int64) @ codes.astype(np.int64).T
    assert np.abs(exact).max() <= LENGTH**2 < 2**24
    assert np.array_equal((codes @ codes.T).astype(np.int64), exact)


def test_nothing_has_a_code_of_nothing():
    assert not directions(np.zeros((1, COMPONENTS))).any()
    assert rough_levels(np.array([[0.5, -1.0]], np.float32)).tolist() == [[2**14, -(2**15)]]


def test_filters_have_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((400, 1280), np.float32)
    features = rng.integers(0, 256, (400, 244))
    fitted = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            space = fit_space(vectors)
            fitted.append((space.basis, fit_filter(features, vectors, space).weights))
    assert all(np.array_equal(*same) for same in zip(*fitted, strict=True))
