"""What is written beside a model's file of what its network takes and gives."""

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.transform import Layout, Pooling, Rgb, Transform
from pipeline.images.fit import Fit, Interpolation

SCALED = "mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225]"
PREPROCESSOR = "preprocessor_config.json"  # of HuggingFace's models, beside them or above onnx/
OPEN_CLIP = "open_clip_config.json"  # of its models
PREPROCESS = "preprocess_cfg.json"  # open_clip's, of exports that keep nothing else of it
RESAMPLES: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class Recipe(BaseModel):
    """The YAML beside a model; what it does not say is read from the file, or as by default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    size: int | None = Field(None, ge=16, le=2048)  # side of the square, pixels
    resize: Literal["squash"] | int = "squash"  # or the short side, of which the middle is cut
    interpolation: Interpolation = "bilinear"
    mean: Rgb | None = None
    deviation: Rgb | None = None
    range: Literal[1, 255] = 1  # of the pixels that mean and deviation are of
    layout: Layout | None = None
    output: str | int | None = None
    pooling: Pooling | None = None

    @property
    def fit(self) -> Fit:
        return Fit(None if self.resize == "squash" else self.resize, self.interpolation)

    def side(self, path: Path, asked: int | None, fixed: int | None = None) -> int:
        """Return the side of the square: asked for, fixed by the file at ``path``, or told here.

        Raises ConfigError where nobody says, or two say different things.
        """
        size = asked or self.size or fixed
        if size is None:
            told = f"write size: 224, or what it takes, into {path.with_suffix('.yaml')}"
            raise ConfigError(f"{path} does not say how large its images are; {told}")
        if fixed and size != fixed:
            raise ConfigError(f"{path} takes images of {fixed} pixels, not {size}")
        if self.fit.short_side and self.fit.short_side < size:
            raise ConfigError(
                f"of images with a short side of {self.fit.short_side} pixels no square of {size} "
                f"can be cut; mend resize beside {path}, or set embed.input_size"
            )
        return size


def described(path: Path) -> Recipe:
    """Return what is written beside the model at ``path``: PATH.yaml, or what its makers wrote.

    Raises InputError where that cannot be read.
    """
    mine = path.with_suffix(".yaml")
    if mine.exists():
        return _recipe(mine, yaml.safe_load)
    for name, read in THEIRS.items():
        theirs = beside_or_above(path, name)
        if theirs:
            return _recipe(theirs, lambda text, read=read: read(json.loads(text)))
    return Recipe()


def beside_or_above(path: Path, name: str) -> Path | None:
    """Return the file ``name`` beside that at ``path``, or in the folder above; None without."""
    places = (path.with_name(name), path.parent.parent / name)
    return next((place for place in places if place.exists()), None)


def _recipe(path: Path, read: Any) -> Recipe:
    try:
        return Recipe.model_validate(read(path.read_text()) or {})
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is no description of a model: {in_a_line(error)}") from error


def in_a_line(error: Exception) -> str:
    """Return what is wrong with a description, every wrong value of it."""
    if not isinstance(error, ValidationError):
        return str(error)
    problems = error.errors()
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems)


def from_preprocessor(said: dict[str, Any]) -> dict[str, Any]:
    """Return a Recipe's values from HuggingFace's preprocessor_config.json.

    Raises ValueError for what no Recipe says.
    """
    size, crop = _sides(said.get("size")), _sides(said.get("crop_size"))
    cut = said.get("do_center_crop", crop is not None) and crop is not None
    if said.get("do_resize", True) is False or size is None or "crop_pct" in said:
        raise ValueError("its way to resize is not known here: write a .yaml beside the model")
    squashed = isinstance(said.get("size"), dict) and "height" in said["size"]
    if cut and squashed and size != crop:
        raise ValueError("it squashes and then cuts: write a .yaml beside the model")
    way = said.get("resample", 2)  # another than RESAMPLES' is told as no interpolation
    scale = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    normalised = said.get("do_normalize", True)
    mean, deviation = said["image_mean"], said["image_std"]
    if not normalised:
        mean, deviation = [0.0] * 3, [1.0] * 3
    return {
        "size": crop if cut else size,
        "resize": size if cut and not squashed else "squash",
        "interpolation": RESAMPLES.get(way, way),
        "mean": [value / scale for value in mean],
        "deviation": [value / scale for value in deviation],
        "range": 255,
    }


def from_open_clip(said: dict[str, Any]) -> dict[str, Any]:
    """Return a Recipe's values from open_clip_config.json. Raises ValueError for an unknown way."""
    vision = said["model_cfg"]["vision_cfg"]
    return from_preprocess({"size": vision["image_size"], **said.get("preprocess_cfg", {})})


def from_preprocess(said: dict[str, Any]) -> dict[str, Any]:
    """Return a Recipe's values from open_clip's preprocess_cfg; what it leaves out is as there."""
    size, way = said["size"], said.get("resize_mode", "shortest")
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1 or way not in ("shortest", "squash"):
        raise ValueError(f"no squares, or resized by {way}: write a .yaml beside the model")
    (side,) = sides
    return {
        "size": side,
        "resize": side if way == "shortest" else "squash",
        "interpolation": said.get("interpolation", "bicubic"),
        "mean": said.get("mean", CLIP_MEAN),
        "deviation": said.get("std", CLIP_DEVIATION),
    }


THEIRS = {
    PREPROCESSOR: from_preprocessor,
    OPEN_CLIP: from_open_clip,
    PREPROCESS: from_preprocess,
}


def _sides(size: Any) -> int | None:
    """Return the one side that a size tells. Raises ValueError where it has two."""
    if not isinstance(size, dict):
        return size  # type: ignore[no-any-return]
    sides = {size[name] for name in ("height", "width", "shortest_edge") if name in size}
    if len(sides) != 1:
        raise ValueError(f"its images are no squares: {size}; write a .yaml beside the model")
    return int(sides.pop())


def scaled(recipe: Recipe, path: Path, layout: Layout, whole: bool = False) -> Transform:
    """Return the transform; ``whole``: the network takes pixels u8 as they are.

    Raises InputError where a network of fractions has no mean and deviation.
    """
    if whole and (recipe.mean or recipe.deviation):
        raise InputError(f"{path} takes whole numbers: leave mean and deviation out beside it")
    if not whole and (recipe.mean is None or recipe.deviation is None):
        raise InputError(
            f"{path} does not say how its pixels are scaled; write that into "
            f"{path.with_suffix('.yaml')}, as {SCALED} for ImageNet's"
        )
    unit = 255 / recipe.range
    mean = _times(unit, recipe.mean or (0.0, 0.0, 0.0))
    deviation = _times(unit, recipe.deviation) if recipe.deviation else (1.0, 1.0, 1.0)
    chosen = (recipe.layout or layout, recipe.output, recipe.pooling)
    return Transform(recipe.fit, mean, deviation, *chosen)


def _times(unit: float, values: Rgb) -> Rgb:
    red, green, blue = values
    return unit * red, unit * green, unit * blue


def beside(path: Path, size: int, theirs: Transform, asked: int | None) -> tuple[int, Transform]:
    """Return the side and transform of weights at ``path``: what is beside them, else ``theirs``.

    Where another side is asked for, images are made as much larger or smaller before the cut.
    Raises as ``described`` does.
    """
    if path.with_suffix(".yaml").exists():
        recipe = described(path)
        return recipe.side(path, asked or recipe.size or size), scaled(recipe, path, "NCHW")
    if asked is None or asked == size or theirs.fit.short_side is None:
        return asked or size, theirs
    short_side = round(theirs.fit.short_side * asked / size)
    fit = Fit(max(asked, short_side), theirs.fit.interpolation)
    return asked, Transform(fit, theirs.mean, theirs.deviation)
