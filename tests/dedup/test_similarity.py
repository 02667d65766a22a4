from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core.store import Store
from pipeline.dedup.similarity import keep_similarity, kept_similarity, measured_similarity
from pipeline.embedding.transform import Transform


def colours(pixels):
    """Return the mean colour of each, centred: photographs differ in it, copies little."""
    means = pixels.mean(axis=(1, 2)).astype(np.float32) - 110
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def places(pixels):
    """Return 1,024 random sums of the pixels: unlike photographs have little in common."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def encoder(encode):
    settings = SimpleNamespace(input_size=16, transform=Transform())
    return SimpleNamespace(settings=settings, start=lambda: encode)


def test_it_is_higher_for_an_encoder_that_finds_more_alike():
    few, many = (measured_similarity(encoder(encode)) for encode in (places, colours))
    assert 0.8 < few < 0.99 < many <= 1


def test_it_is_measured_once_and_known_of_the_default(tmp_path):
    own = Store.create(tmp_path / "own", "embeddings", {"model": "efficientnet_lite0"})
    assert kept_similarity(own) == 0.85
    other = Store.create(tmp_path / "other", "embeddings", {"model": "vit.onnx"})
    assert kept_similarity(other) is None
    keep_similarity(other, 0.953)
    assert kept_similarity(Store.open(other.root)) == pytest.approx(0.953)
