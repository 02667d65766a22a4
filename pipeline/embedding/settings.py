"""What decides an embedding's value: names and settings, without any network's library."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.embedding.models import MODELS, Weights
from pipeline.embedding.transform import Transform

if TYPE_CHECKING:
    from pipeline.core.arrays import Pixels, Vectors

Encode = Callable[["Pixels"], "Vectors"]  # (n,s,s,3) -> (n,d)
# torch and onnxruntime: on the CPU; cuda: torch on a GPU, of a file of ONNX ONNX Runtime; python: a
# function of the user's own.
BackendName = Literal["cuda", "openvino", "onnxruntime", "torch", "python"]
Precision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True)
class EncoderSettings:
    """What decides an embedding's value, beside its pixels."""

    model: str  # one of MODELS, or what a kind of pipeline.embedding.kinds finds
    weights: Weights
    backend: BackendName
    precision: Precision
    input_size: int  # side of the square the model sees, pixels
    batch_size: int
    brought: Transform | None = None  # none: that of MODELS
    version: str = ""  # of the package that has the network's code, "" for Sluice's own and files

    @property
    def transform(self) -> Transform:
        return self.brought or MODELS[self.model].transform
