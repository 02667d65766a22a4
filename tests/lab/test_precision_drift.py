import numpy as np
import pyarrow as pa
import pytest

from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.squares import decode_squares
from pipeline.lab import precision_drift
from pipeline.lab.pixel_timing import on_one_thread
from pipeline.lab.precision_drift import drift


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_no_drift_and_much(photos):
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(200, 32)))
    same = drift(vectors, vectors, 10)
    assert (same.cosine_mean, same.recall) == (pytest.approx(1, abs=1e-6), 1.0)
    near = drift(vectors, unit(vectors + 0.02 * random.normal(size=vectors.shape)), 10)
    far = drift(vectors, unit(random.normal(size=vectors.shape)), 10)
    assert 1 > near.recall > 0.7 > 0.2 > far.recall
    assert near.cosine_least <= near.cosine_mean < 1


def test_every_usable_precision_is_compared_with_torch_f32(jpegs, monkeypatch):
    on_one_thread()
    pairs = [("torch", "f32"), ("openvino", "f32")]
    monkeypatch.setattr(precision_drift, "usable_pairs", lambda model: pairs)
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "openvino", "f32", 64, 4)
    images = pa.table({"id": range(6), "key": list("abcdef"), "bytes": jpegs[:6]})
    squares = decode_squares(images, 64).pixels
    torch_f32, openvino_f32 = precision_drift.time_precisions(settings, squares, 3, 1)
    assert torch_f32[:2] == pairs[0]
    assert min(torch_f32[2:5]) > 0
    assert torch_f32[5:] == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6), 1.0)
    assert openvino_f32[:2] == pairs[1]
    assert 0.999 < openvino_f32[6] <= openvino_f32[5] < 1.0001
    assert openvino_f32[7] > 0.9


def test_torch_f32_comes_first_where_it_can_run_the_model():
    own = precision_drift.usable_pairs("efficientnet_lite0")
    assert own[0] == ("torch", "f32")
    assert ("openvino", "f32") in own
    assert precision_drift.usable_pairs("vit.onnx")[0] == ("openvino", "f32")
    assert precision_drift.usable_pairs("mine:embed") == [("python", "f32")]
