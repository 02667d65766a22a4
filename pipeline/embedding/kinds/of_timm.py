"""Networks of timm by name, without their classifiers."""

from typing import Any

from torch import nn

from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.kinds.beside import beside
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import file_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.tensors import load_tensors
from pipeline.embedding.transform import Transform
from pipeline.images.fit import Fit


def find(asked: Asked) -> Found:
    """Return a network with the transform of its published weights.

    Raises ConfigError where timm is not installed or does not know the name, InputError where no
    weights are named.
    """
    timm = _timm(asked.model)
    name = asked.model.partition(":")[2]
    if not timm.is_model(name):
        raise ConfigError(f"{asked.model}: timm {timm.__version__} has no such network")
    if asked.weights is None:
        raise InputError(
            f"{asked.model} needs embed.weights: fetch model.safetensors from "
            f"https://huggingface.co/timm/{name}, and name the file"
        )
    published = timm.get_pretrained_cfg(name)
    size, transform = _transform(timm.data.resolve_data_config(pretrained_cfg=published.to_dict()))
    weights = file_weights(asked.weights, asked.sha256)
    size, transform = beside(asked.weights, size, transform, asked.input_size)
    return Found(asked.model, weights, size, transform, f"timm {timm.__version__}")


def load(settings: EncoderSettings) -> nn.Module:
    """Return the network in evaluation mode: f32 (n,3,s,s) -> its pooled features f32 (n,d)."""
    timm = _timm(settings.model)
    name = settings.model.partition(":")[2]
    network: nn.Module = timm.create_model(name, num_classes=0)
    classifier = network.pretrained_cfg["classifier"]  # type: ignore[index]
    load_tensors(network, settings.weights.path, settings.model, left_out=str(classifier))
    return network.eval()


def _timm(model: str) -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise ConfigError(
            f"{model} needs timm, which is not installed; pip install 'sluice[timm]'"
        ) from error
    return timm


def _transform(theirs: dict[str, Any]) -> tuple[int, Transform]:
    size = theirs["input_size"][-1]
    squashed = theirs["crop_mode"] == "squash"
    short_side = None if squashed else int(size / theirs["crop_pct"])
    way = "bicubic" if theirs["interpolation"] == "bicubic" else "bilinear"
    mean, deviation = (tuple(255 * v for v in theirs[name]) for name in ("mean", "std"))
    return size, Transform(Fit(short_side, way), mean, deviation)  # type: ignore[arg-type]
