"""Loading a CNN with its weights."""

from pathlib import Path
from pickle import UnpicklingError
from pkgutil import resolve_name
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.core.errors import InputError
from pipeline.embedding.models import MODELS, Weights


def load_cnn(model: str, weights: Weights, input_size: int) -> nn.Module:
    """Return the network in evaluation mode: normalised f32 (n,3,s,s) -> f32 (n,d).

    Nothing in the file is executed: weights_only for .pth, safetensors otherwise. Raises
    InputError where the file does not hold ``model``'s weights.
    """
    cut: Any = resolve_name(MODELS[model].build)(input_size)
    try:
        cut.network.load_state_dict(_read(weights.path))
    except Exception as error:
        raise InputError(
            f"{weights.path} does not hold weights of {model} ({_reason(error)}); name a .pth or "
            ".safetensors file of that model's tensors in embed.weights"
        ) from error
    module: nn.Module = cut.eval()
    return module


def _reason(error: Exception) -> str:
    if isinstance(
        error, UnpicklingError | EOFError
    ):  # torch's own text advises to run what is in the file
        return "it is no file of tensors alone"
    lines = str(error).splitlines() or [type(error).__name__]
    return "its tensors have other names or shapes" if len(lines) > 1 else lines[0]


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
