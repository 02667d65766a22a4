"""Weights from a file: tensors alone, nothing in it is executed."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.serialization import safe_globals

from pipeline.core.errors import InputError

# What training loops put tensors under, averaged ones first, as timm reads its own.
WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
# What they put beside tensors: options and scores, of classes that hold values and run nothing.
BESIDE: list[Any] = [Namespace, np.dtype, np.float64(0).__reduce__()[0]]
BESIDE += [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64, np.bool_)]


def load_tensors(module: nn.Module, path: Path, model: str, left_out: str | None = None) -> None:
    """Give ``module`` the tensors of the file ``path``, but those of the layer ``left_out``.

    weights_only for a pickle, safetensors where the file is called so. Raises InputError where the
    file does not hold ``model``'s weights.
    """
    try:
        state = _unwrapped(_read(path), module)
        if left_out:
            state = {n: v for n, v in state.items() if not n.startswith(f"{left_out}.")}
        module.load_state_dict(state)
    except Exception as error:
        raise InputError(
            f"{path} does not hold weights of {model} ({_reason(error)}); name a .pth or "
            ".safetensors file of that model's tensors in embed.weights"
        ) from error


def _reason(error: Exception) -> str:
    # torch's own text advises to run what is in the file
    if isinstance(error, UnpicklingError | EOFError):
        return "it is no file of tensors alone; write its state_dict() into one"
    lines = str(error).splitlines() or [type(error).__name__]
    told = shorten(lines[-1].rstrip(" ."), 160, placeholder=" ...")
    return f"its tensors have other names or shapes: {told}" if len(lines) > 1 else told


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    with safe_globals(BESIDE):
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    for name in WRAPPED:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    if not isinstance(held, Mapping):
        raise ValueError("it holds no tensors by name")
    return dict(held)


def _unwrapped(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Return tensors by their names within ``module``.

    Training loops name them as parts of something larger: all begin with "module.", "encoder." or
    the like, which is no part of ``module``.
    """
    parts = {name for name, _ in module.named_children()}
    firsts = {name.partition(".")[0] for name in state}
    while len(firsts) == 1 and not firsts & parts and all("." in name for name in state):
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
        firsts = {name.partition(".")[0] for name in state}
    return state
