"""Classification networks of torchvision by name, cut before their last layer."""

import urllib.error
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.kinds.beside import beside
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import file_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.tensors import load_tensors
from pipeline.embedding.transform import Transform
from pipeline.images.fit import Fit

CLASSES = 1000  # ImageNet's, that the last layer tells apart
# Their published weights are for pixels scaled the way that Inception was trained on.
SCALED_AS_INCEPTION = {"transform_input": True, "init_weights": False}
SIZES = {"vit": "image_size", "maxvit": "input_size"}  # what fixes the side of a network's input


def find(asked: Asked) -> Found:
    """Return a network with its weights and their transform: by their checksum, else the default's.

    Raises ConfigError for a name torchvision does not know, InputError where there are no weights.
    """
    name = _name(asked.model)
    if name not in list_models(module=torchvision.models):
        raise ConfigError(
            f"{asked.model}: torchvision {torchvision.__version__} has no such network"
        )
    known = get_model_weights(name)
    path = asked.weights or _fetched(known.DEFAULT.url, asked.model)
    weights = file_weights(path, asked.sha256)
    mine = (
        entry for entry in known if _hash(entry.url) and weights.sha256.startswith(_hash(entry.url))
    )
    size, transform = _transform(next(mine, known.DEFAULT).transforms())
    size, transform = beside(path, size, transform, asked.input_size)
    return Found(asked.model, weights, size, transform, f"torchvision {torchvision.__version__}")


def load(settings: EncoderSettings) -> nn.Module:
    """Return the network in evaluation mode, its last layer left out."""
    name, size = _name(settings.model), settings.input_size
    options: dict[str, Any] = dict.fromkeys(
        [option for family, option in SIZES.items() if name.split("_")[0] == family], size
    )
    if name == "maxvit_t":
        options = {"input_size": (size, size)}
    if name in ("googlenet", "inception_v3"):
        options = SCALED_AS_INCEPTION
    network: nn.Module = get_model(name, weights=None, **options)
    last = _last_layer(network)
    network.set_submodule(last, nn.Identity())
    load_tensors(network, settings.weights.path, settings.model, left_out=last)
    return network.eval()


def _name(model: str) -> str:
    return model.partition(":")[2]


def _last_layer(network: nn.Module) -> str:
    found = ""
    for name, layer in network.named_modules():
        if CLASSES in (getattr(layer, "out_features", 0), getattr(layer, "out_channels", 0)):
            found = name
    return found


def _transform(theirs: Any) -> tuple[int, Transform]:
    """Return the side and transform of torchvision's ImageClassification."""
    (size,), (short_side,) = theirs.crop_size, theirs.resize_size
    mean, deviation = (tuple(255 * v for v in values) for values in (theirs.mean, theirs.std))
    fit = Fit(short_side, theirs.interpolation.value)
    return size, Transform(fit, mean, deviation)


def _hash(url: str) -> str:
    """Return the first digits of the SHA-256 that torch's hub writes into its files' names."""
    return Path(url).stem.rpartition("-")[2]


def _fetched(url: str, model: str) -> Path:
    """Return the file of ``url`` in the folder of torch's hub, fetched where it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash(url), progress=False)
    except (TimeoutError, OSError, urllib.error.URLError, RuntimeError) as error:
        raise InputError(
            f"the weights of {model} cannot be fetched here ({error}); fetch {url} elsewhere, and "
            "name the file in embed.weights"
        ) from error
    return path
