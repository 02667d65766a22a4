"""A function of the user's own that embeds."""

import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import SIZE, file_weights
from pipeline.embedding.settings import Encode, EncoderSettings
from pipeline.embedding.transform import Transform


def find(asked: Asked) -> Found:
    """Return the function, known by the bytes of its module. Raises ConfigError, InputError."""
    path = Path(_source(_function(asked.model), asked.model))
    weights = file_weights(path, asked.sha256)
    if asked.weights:
        raise ConfigError(f"embed.weights is nothing to {asked.model}, which has its own")
    return Found(asked.model, weights, asked.input_size or SIZE, Transform(), _version(asked.model))


def load(settings: EncoderSettings) -> Encode:
    """Call the function; return what it gives: uint8 (n,s,s,3) -> f32 (n,d), made f32 (n,d).

    Raises InputError where the module found here is another than the store's.
    """
    made = _function(settings.model)
    file_weights(Path(_source(made, settings.model)), settings.weights.sha256)
    encode = made()
    if not callable(encode):
        raise InputError(
            f"{settings.model} returned {type(encode).__name__}; it must return a function of "
            "uint8 (n, s, s, 3) that gives float32 (n, d)"
        )

    def run(pixels: Pixels) -> Vectors:
        found: Vectors = np.asarray(encode(pixels), np.float32)
        return found

    return run


def _function(model: str) -> Any:
    name, _, function = model.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(name), function)
    except Exception as error:  # the module is the user's: it may raise anything
        raise ConfigError(
            f"{model} cannot be imported ({type(error).__name__}: {error}); put its folder on "
            "PYTHONPATH, on every node"
        ) from error
    if not callable(found):
        raise ConfigError(f"{model} is no function")
    return found


def _source(function: Any, model: str) -> str:
    module = sys.modules[model.partition(":")[0]]
    path = inspect.getsourcefile(module)
    if path is None:
        raise ConfigError(f"{model} has no source file, by which a store would know it")
    return path


def _version(model: str) -> str:
    top = model.partition(":")[0].partition(".")[0]
    version = getattr(sys.modules[top], "__version__", "")
    return f"{top} {version}" if version else ""
