"""What a kind of model is: how it is found, loaded, and on what it can run.

The settings are checked by these names, and a help page must not wait for a library: functions are
told by their names ("module:function").
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.embedding.models import Weights
from pipeline.embedding.settings import BackendName
from pipeline.embedding.transform import Transform


class Asked(NamedTuple):
    """What the settings say of a model."""

    model: str
    weights: Path | None
    sha256: str | None  # that the weights must have
    input_size: int | None  # pixels; none: the model's own


class Found(NamedTuple):
    """A model that is there."""

    model: str  # the name by which a store knows it: of a file that of the file alone
    weights: Weights
    input_size: int
    brought: Transform | None = None  # none: that of MODELS
    version: str = ""
    batch: int | None = None  # images at once that the file takes; none: any


@dataclass(frozen=True)
class ModelKind:
    """A way to name a model."""

    example: str
    backends: tuple[BackendName, ...]  # that can run it
    # Asked -> Found. Raises ConfigError for what is not there or said wrongly, InputError for an
    # unusable file.
    find: str
    # EncoderSettings -> for torch and cuda an nn.Module, f32 (n,3,s,s) -> f32 (n,d), normalised
    # pixels in; of a file that OpenVINO reads an ov.Model; for python an Encode. Raises InputError.
    load: str
    kept: bool = True  # whether a store holds the converted network; else it is read anew

    @property
    def of_onnx(self) -> bool:
        """Return whether a GPU runs it by ONNX Runtime, and not by torch."""
        return "onnxruntime" in self.backends
