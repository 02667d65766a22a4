import sys

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.on_onnxruntime import PROVIDERS
from pipeline.embedding.stored import encoder_settings, query_encoder, stored_encoder
from tests.helpers.command_line import run
from tests.helpers.networks import SCALED, Tokens, write_onnx

pytest.importorskip("onnxruntime")


def asked(model, backend="onnxruntime", precision="auto", size=None, batch=None):
    return encoder_settings(str(model), None, None, backend, precision, size, batch)


def embedded(settings, squares):
    return build_encoder(settings).start()(squares)


def both(path, squares, **more):
    """What ONNX Runtime and OpenVINO make of ``squares``, for the second is tested by torch."""
    return [
        embedded(asked(path, backend, **more), squares) for backend in ("onnxruntime", "openvino")
    ]


def test_it_gives_what_openvino_gives_also_to_queries_of_a_store(vit, tmp_path, squares):
    mine, other = both(vit, squares)
    assert mine == pytest.approx(other, abs=1e-5)
    settings = asked(vit)
    store = Store.create(tmp_path / "s", "embeddings", embedding_identity(settings))
    stored_encoder(store, settings)
    assert store.attached_names() == ["networks/vit.onnx.path"]
    assert np.array_equal(query_encoder(store, None).start()(squares), mine)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_tokens_are_pooled_and_halves_of_float_taken(tmp_path, squares, pooling):
    path = write_onnx(
        Halved(Tokens()), tmp_path / "t.onnx", f"{SCALED}pooling: {pooling}\n", kind=torch.float16
    )
    mine, other = both(path, squares)
    assert mine == pytest.approx(other, abs=1e-3)


class Halved(nn.Module):
    """Takes and gives numbers of 16 bits."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images):
        return self.module(images.float()).half()


class Means(nn.Module):
    def forward(self, pixels):
        halves = pixels.float()[:, ::2].mean(dim=(1, 2)), pixels.float().mean(dim=(1, 2))
        return torch.cat(halves, dim=1), pixels.float().mean(dim=(1, 2))


def test_whole_numbers_in_another_layout_and_one_of_two_outputs(tmp_path, squares):
    path, pixels = tmp_path / "means.onnx", torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    options = {"input_names": ["in"], "output_names": ["a", "b"], "dynamo": False}
    torch.onnx.export(Means(), (pixels,), str(path), dynamic_axes={"in": {0: "n"}}, **options)
    with pytest.raises(InputError, match=r"has the outputs a, b; write which into the .yaml"):
        build_encoder(asked(path))
    path.with_suffix(".yaml").write_text("output: a\n")
    mine, other = both(path, squares, batch=4)
    assert mine.shape == (5, 6)
    assert mine == pytest.approx(other, abs=1e-6)


def test_a_file_that_fixes_its_batch_gets_that_and_another_is_told_with_what_to_set(vit):
    assert asked(vit, "cuda").batch_size == 1
    with pytest.raises(InputError, match=r"on 4 images .* and embed.batch_size to what it takes"):
        build_encoder(asked(vit, batch=4))


def test_a_gpu_decodes_ahead_and_embeds_large_batches(tmp_path, jpegs, monkeypatch):
    """A stand-in for the GPU: the same calls, on the CPU."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    names = {"input_names": ["images"], "dynamic_axes": {"images": {0: "n"}}}
    path = write_onnx(network, tmp_path / "v.onnx", **names)
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(jpegs):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    said = ["embed", tmp_path / "photos", "--model", path, "--workers", "0"]
    without = run(*said, "--backend", "cuda", "--output", tmp_path / "c")
    assert "has no CUDAExecutionProvider" in str(without.exception)
    monkeypatch.setitem(PROVIDERS, "cuda", PROVIDERS["onnxruntime"])
    stores = []
    for backend in ("cuda", "onnxruntime"):
        root = tmp_path / backend
        done = run(*said, "--backend", backend, "--batch-size", "64", "--output", root)
        assert done.exit_code == 0, done.output
        stores.append(Store.open(root))
    assert [store.identity["backend"] for store in stores] == ["cuda", "onnxruntime"]
    mine, other = (embedding_matrix(store.read(0)["embedding"]) for store in stores)
    assert np.array_equal(mine, other)
    assert len(mine) == len(jpegs)


def test_a_gpu_that_is_not_used_is_told(vit, monkeypatch):
    import onnxruntime

    known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    with pytest.raises(ConfigError, match=r"cannot use CUDAExecutionProvider on this machine"):
        build_encoder(asked(vit, "cuda")).start()
    with pytest.raises(ConfigError, match="bf16 cannot run on cuda here; usable: f32"):
        asked(vit, "cuda", "bf16")


def test_where_it_is_not_installed_that_is_told(vit, monkeypatch):
    settings = asked(vit, batch=1)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'sluice\[onnx\]'"):
        build_encoder.__wrapped__(settings)
