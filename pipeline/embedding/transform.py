"""What is done to an image before a network, and to what the network gives, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.images.fit import SQUASHED, Fit

Rgb = tuple[float, float, float]
Layout = Literal["NCHW", "NHWC"]
Pooling = Literal["mean", "first"]


@dataclass(frozen=True)
class Transform:
    """From an image to a network's input, and from its output to one row an image.

    Pixels u8 stand for p in (p - mean) / deviation.
    """

    fit: Fit = SQUASHED
    mean: Rgb = (0.0, 0.0, 0.0)  # of pixels from 0 to 255
    deviation: Rgb = (1.0, 1.0, 1.0)
    layout: Layout = "NCHW"  # of the network's input
    output: str | int | None = None  # by name or number; none: the only one
    pooling: Pooling | None = None  # of tokens or places; none: the output is (n, d)


def plain(transform: Transform) -> dict[str, Any]:
    """Return a transform's values as JSON holds them."""
    rgb = {name: list(getattr(transform, name)) for name in ("mean", "deviation")}
    return asdict(transform) | rgb


def transform_of(kept: Mapping[str, Any]) -> Transform:
    """Return the transform that ``plain`` told."""
    rgb = {name: tuple(kept[name]) for name in ("mean", "deviation")}
    return Transform(**{**kept, **rgb, "fit": Fit(**kept["fit"])})
