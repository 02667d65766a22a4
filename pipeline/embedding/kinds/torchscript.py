"""A TorchScript file."""

from typing import Any

import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.embedding.kinds.beside import described, scaled
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import file_weights, own_file
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.transform import Transform


def find(asked: Asked) -> Found:
    """Return the file with the transform that is described beside it. Raises InputError."""
    path = own_file(asked.model, asked.weights)
    weights = file_weights(path, asked.sha256)
    recipe = described(path)
    size = recipe.side(path, asked.input_size)
    return Found(path.name, weights, size, scaled(recipe, path, "NCHW"))


def load(settings: EncoderSettings) -> nn.Module:
    """Return the network in evaluation mode, its output one row an image."""
    path = settings.weights.path
    try:
        module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # it raises nearly anything for what is no such file
        raise InputError(
            f"{path} is no TorchScript file; for a file of tensors alone name the network, as "
            f"embed.model=torchvision:resnet18 with embed.weights={path}"
        ) from error
    return _OneRow(module, settings.transform, str(path))


class _OneRow(nn.Module):
    """A network whose output is made one row an image."""

    def __init__(self, network: nn.Module, transform: Transform, path: str) -> None:
        super().__init__()
        self.network, self.transform, self.path = network, transform, path

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        turned = images.permute(0, 2, 3, 1) if self.transform.layout == "NHWC" else images
        found = self._chosen(self.network(turned))
        if self.transform.pooling == "first":
            return found[:, 0]
        if self.transform.pooling == "mean":
            places = (1,) if found.dim() == 3 else (2, 3)
            return found.mean(dim=places)
        return found

    def _chosen(self, given: Any) -> torch.Tensor:
        output = self.transform.output
        if isinstance(given, torch.Tensor):
            return given
        if isinstance(given, dict) and len(given) == 1 and output is None:
            output = next(iter(given))
        if output is None and isinstance(given, tuple | list) and len(given) == 1:
            output = 0
        try:
            found: torch.Tensor = given[output]
        except (KeyError, IndexError, TypeError) as error:
            names = list(given) if isinstance(given, dict) else list(range(len(given)))
            raise InputError(
                f"{self.path} gives several outputs; write into the .yaml beside it which, as "
                f"output: {names[0]} (of {', '.join(map(str, names))})"
            ) from error
        return found
