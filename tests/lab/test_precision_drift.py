import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.stored import encoder_settings
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


def test_every_way_is_compared_with_torch_f32_and_what_fails_is_left_out(
    photos, tmp_path, monkeypatch
):
    on_one_thread()
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pth")
    named = ("torchvision:squeezenet1_1", tmp_path / "w.pth", None, "torch", "f32", 64, 4)
    settings = encoder_settings(*named)
    pairs = [("torch", "f32"), ("openvino", "f32"), ("openvino", "int8")]
    monkeypatch.setattr(precision_drift, "usable_pairs", lambda model: pairs)

    def refused(settings):
        if settings.precision == "int8":
            raise ValueError("no calibration\nmore")
        return build_encoder(settings)

    def fails(settings):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(precision_drift, "built_encoder", refused)
    monkeypatch.setattr(precision_drift, "_compiled", fails)
    squares = np.stack([photo[y : y + 64, :64] for photo in photos for y in (0, 70)])
    rows, left_out = precision_drift.time_ways(settings, squares, 3, 1, (2, 4))
    ways = ("torch", "openvino", "onnxruntime")
    assert [row[:3] for row in rows] == [
        *((way, "f32", batch) for way in ways[:2] for batch in (2, 4)),
        *(("onnxruntime", "f32", batch) for batch in (2, 4)),
    ]
    assert [row[6:] for row in rows] == [pytest.approx((1, 1, 1), abs=1e-4)] * 6
    assert min(row[4] for row in rows) > 0
    assert left_out == [
        "openvino int8, batch 2: no calibration",
        "torch.compile f32, batch 2: no C++ compiler",
        "torch.compile f32, batch 4: no C++ compiler",
    ]


def test_torch_f32_comes_first_where_it_can_run_the_model():
    own = precision_drift.usable_pairs("efficientnet_lite0")
    assert own[0] == ("torch", "f32")
    assert ("openvino", "f32") in own
    onnx = precision_drift.usable_pairs("vit.onnx")
    assert (onnx[0], onnx[-1]) == (("openvino", "f32"), ("onnxruntime", "f32"))
    assert precision_drift.usable_pairs("mine:embed") == [("python", "f32")]
