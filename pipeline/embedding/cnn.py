"""Loading one of Sluice's own CNNs with its weights."""

from pkgutil import resolve_name
from typing import Any

from torch import nn

from pipeline.embedding.models import MODELS, Weights
from pipeline.embedding.tensors import load_tensors


def load_cnn(model: str, weights: Weights, input_size: int) -> nn.Module:
    """Return the network in evaluation mode: normalised f32 (n,3,s,s) -> f32 (n,d).

    Raises InputError where the file does not hold ``model``'s weights.
    """
    cut: Any = resolve_name(MODELS[model].build)(input_size)
    load_tensors(cut.network, weights.path, model)
    module: nn.Module = cut.eval()
    return module
