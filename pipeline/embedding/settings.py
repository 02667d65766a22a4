"""What decides an embedding's value: names and settings, without any network's library."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.embedding.models import Weights

if TYPE_CHECKING:
    from pipeline.core.arrays import Pixels, Vectors

Encode = Callable[["Pixels"], "Vectors"]  # (n,s,s,3) -> (n,d)
BackendName = Literal["cuda", "openvino", "torch"]  # torch: on the CPU, the reference
Precision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True)
class EncoderSettings:
    """What decides an embedding's value, beside its pixels."""

    model: str  # one of MODELS
    weights: Weights
    backend: BackendName
    precision: Precision
    input_size: int  # side of the square the model sees, pixels
    batch_size: int
