from argparse import Namespace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.embedding.backends import choose_backend, has_cuda
from pipeline.embedding.cnn import load_cnn
from pipeline.embedding.encoder import Encoder, build_encoder, has_direction, unit_rows
from pipeline.embedding.models import MODELS, Weights, find_weights
from pipeline.embedding.on_torch import torch_runner_on
from pipeline.embedding.openvino import openvino_capabilities
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.stored import stored_encoder
from pipeline.embedding.tensors import load_tensors

SIZE = 96


@pytest.fixture(scope="module")
def squares(photos):
    tiles = [photo[y : y + 200, x : x + 200] for photo in photos for y in (0, 90) for x in (0, 190)]
    return np.stack(
        [cv2.resize(tile, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for tile in tiles]
    )


def encode(backend, precision, squares, batch_size=8):
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, backend, precision, SIZE, batch_size)
    return build_encoder(settings).start()(squares)


@pytest.fixture(scope="module")
def reference(squares):
    return encode("torch", "f32", squares)


def test_embeddings_have_unit_length(reference, squares):
    assert reference.shape == (len(squares), MODELS["efficientnet_lite0"].dimensions)
    assert reference.dtype == np.float32
    assert np.linalg.norm(reference, axis=1) == pytest.approx(1, abs=1e-5)


def test_torch_is_the_network_with_its_own_normalisation(reference, squares):
    module = load_cnn("efficientnet_lite0", find_weights("efficientnet_lite0", None), SIZE)
    images = (torch.from_numpy(squares).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(module(images)).numpy()
    assert np.abs(wanted - reference).max() < 1e-4


@pytest.mark.parametrize(("precision", "least"), [("f32", 0.99999), ("bf16", 0.995)])
def test_openvino_agrees_with_torch(reference, squares, precision, least):
    if precision == "bf16" and "BF16" not in openvino_capabilities():
        pytest.skip("this CPU has no bf16 arithmetic")
    assert (encode("openvino", precision, squares) * reference).sum(axis=1).min() > least


def test_an_embedding_does_not_depend_on_its_batch(squares):
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "openvino", "f32", SIZE, 8)
    run = build_encoder(settings).start()
    together = run(squares)
    for start, stop in ((0, 1), (3, 8), (5, 12)):
        assert np.array_equal(run(squares[start:stop]), together[start:stop])


def test_the_real_weights_tell_a_cat_from_a_cup(reference):
    cat, cup = reference[0:4], reference[8:12]
    assert (cat @ cat.T).mean() > (cat @ cup.T).mean() + 0.1


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_resnet50_from_local_weights(tmp_path, kind, squares):
    torch.manual_seed(0)
    state = resnet50(weights=None).state_dict()
    path = tmp_path / f"resnet50.{kind}"
    if kind == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    weights = find_weights("resnet50", path)
    settings = EncoderSettings("resnet50", weights, "torch", "f32", SIZE, 4)
    assert build_encoder(settings).start()(squares[:2]).shape == (2, MODELS["resnet50"].dimensions)


def test_wrong_weights_are_told(tmp_path):
    with pytest.raises(InputError, match=r"needs embed\.weights"):
        find_weights("resnet50", None)
    with pytest.raises(InputError, match="cannot read the weights"):
        find_weights("resnet50", tmp_path / "none.pth")
    path = tmp_path / "bad.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="SHA-256"):
        find_weights("resnet50", path, "0" * 64)


ALONE = "it is no file of tensors alone; write its state_dict() into one"


def _other_tensors(path):
    torch.save({"a": torch.zeros(3)}, path)


def _whole_module(path):
    torch.save(torch.nn.Linear(2, 2), path)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"not weights"), ALONE),
        (_whole_module, ALONE),
        (lambda path: torch.save([1, 2], path), "it holds no tensors by name"),
        (
            _other_tensors,
            'its tensors have other names or shapes: Unexpected key(s) in state_dict: "a"',
        ),
        (lambda path: path.write_bytes(b""), ALONE),
    ],
)
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_what_is_no_weights_of_the_model_is_told_before_workers_start(
    tmp_path, backend, write, reason
):
    path = tmp_path / "bad.pth"
    write(path)
    weights = find_weights("resnet50", path)
    with pytest.raises(InputError) as told:
        build_encoder(EncoderSettings("resnet50", weights, backend, "f32", SIZE, 4))
    assert f"does not hold weights of resnet50 ({reason}); name a .pth" in str(told.value)


def test_averaged_tensors_of_a_training_loops_checkpoint_are_taken(tmp_path):
    averaged, last = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    held = {
        "state_dict": last.state_dict(),
        "state_dict_ema": {f"module.{name}": t for name, t in averaged.state_dict().items()},
        "args": Namespace(lr=np.float32(0.1)),
        "metric": np.float64(76.5),
    }
    torch.save(held, tmp_path / "model_best.pth.tar")
    module = torch.nn.Linear(2, 2)
    load_tensors(module, tmp_path / "model_best.pth.tar", "linear")
    assert torch.equal(module.weight, averaged.weight)


def test_weights_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pth"
    torch.save({"x": Evil()}, path)
    with pytest.raises(InputError):
        load_cnn("resnet50", find_weights("resnet50", path), SIZE)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_run_here_is_refused():
    with pytest.raises(ConfigError, match="usable: f32"):
        choose_backend("torch", "bf16")
    assert choose_backend("openvino", "f32") == ("openvino", "f32")


def test_int8_is_made_once_and_kept_in_the_store(reference, squares, tmp_path):
    pytest.importorskip("nncf")
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "openvino", "int8", SIZE, 8)
    store = Store.create(tmp_path / "store", "embeddings", {})
    first = stored_encoder(store, settings).start()(squares)
    assert 0.9 < (first * reference).sum(axis=1).mean() < 0.9999
    again = stored_encoder(Store.open(store.root), settings)
    assert again.network == store.attached("networks/efficientnet_lite0.xml")
    assert np.array_equal(again.start()(squares), first)


def test_auto_is_f32_where_nothing_was_tried_and_cuda_is_the_clusters_to_know():
    assert choose_backend("auto", "auto")[1] == "f32"
    assert choose_backend("cuda", "auto") == ("cuda", "f32")


@pytest.mark.parametrize(("precision", "least"), [("f32", 0.99999), ("bf16", 0.995)])
def test_the_code_for_gpus_agrees_with_the_reference_on_a_cpu(reference, squares, precision, least):
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "cuda", precision, SIZE, 8)
    run = torch_runner_on("cpu", settings)
    found = run(squares[:8])
    assert found.dtype == np.float32
    assert np.array_equal(found, run(squares[:8]))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert (found * reference[:8]).sum(axis=1).min() > least
    assert (np.abs(found - reference[:8]).max() > 1e-4) == (precision == "bf16")


def test_torch_computes_as_told_and_leaves_its_flags_as_they_were(monkeypatch, squares):
    seen, cudnn = [], torch.backends.cudnn

    class Module(torch.nn.Module):
        def forward(self, images):
            assert images.is_contiguous(memory_format=torch.channels_last)
            seen.append((cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32))
            return images.mean(dim=(2, 3))

    monkeypatch.setattr("pipeline.embedding.on_torch.load_model", lambda *_: Module())
    before = cudnn.deterministic, cudnn.allow_tf32, cudnn.conv.fp32_precision
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "cuda", "f32", SIZE, 8)
    torch_runner_on("cpu", settings)(squares[:8])
    assert seen == [(True, True, False, False)]
    assert (cudnn.deterministic, cudnn.allow_tf32, cudnn.conv.fp32_precision) == before


def test_a_gpu_without_bf16_says_so(monkeypatch):
    for name, value in (("is_available", True), ("is_bf16_supported", False)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value, **_: value)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "cuda", "bf16", SIZE, 8)
    with pytest.raises(ConfigError, match=r"Tesla T4 .* set embed\.precision=f32"):
        build_encoder(settings).start()


def test_a_worker_with_other_weights_at_that_path_says_so(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other weights")
    weights = Weights(path, "ab12")
    settings = EncoderSettings("efficientnet_lite0", weights, "torch", "f32", SIZE, 8)
    with pytest.raises(InputError, match="not ab12"):
        Encoder(settings, 1280).start()


def test_a_worker_without_a_gpu_says_so():
    if has_cuda():
        pytest.skip("this machine has a GPU")
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "cuda", "bf16", SIZE, 8)
    with pytest.raises(ConfigError, match="a worker sees no GPU"):
        build_encoder(settings).start()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_length_of_a_row_is_no_matter(scale):
    rows = np.array([[3, 4], [0, 0], [np.nan, 1]], np.float32) * np.float32(scale)
    unit = unit_rows(rows)
    assert unit[0] == pytest.approx([0.6, 0.8], abs=1e-6)
    assert has_direction(unit).tolist() == [True, False, False]
