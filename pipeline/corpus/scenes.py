"""One image of a made corpus: a scene drawn from two photos, and a version of it.

A scene is a crop of one photo with an inset from another; the images of a scene are its versions:
the scene itself, and copies that are cropped, flipped, recoloured, overlaid, scaled, rotated or
recompressed. An image depends on the seed and its own number alone, whatever shard it falls in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, floor, log2, radians, sin

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipeline.core.arrays import Pixels
from pipeline.corpus.photos import Photo

TRANSFORMS = (
    "original",
    "crop",
    "flip",
    "colour",
    "overlay",
    "scale",
    "rotation",
    "recompression",
)
ASPECTS = (1.0, 4 / 3, 3 / 2, 3 / 4, 2 / 3)
Matrix = NDArray[np.float64]  # (2, 3): an affine map


@dataclass(frozen=True)
class CorpusSettings:
    """What decides the bytes of every image, beside the photos."""

    seed: int
    copies: int  # images a scene
    size: int  # shorter side of a scene, pixels
    quality: int  # JPEG quality of all but recompressed copies


@dataclass(frozen=True)
class CorpusImage:
    """A JPEG and what is known of it."""

    number: int
    jpeg: bytes
    width: int
    height: int
    scene: int
    transform: str
    photo: Photo


def make_images(
    photos: list[Photo], settings: CorpusSettings, numbers: range
) -> Iterator[CorpusImage]:
    """Make the images numbered ``numbers``: number n is version n % copies of scene n // copies.

    A scene is rendered once for all its versions in ``numbers``.
    """
    drawn = -1
    for number in numbers:
        scene, version = divmod(number, settings.copies)
        if scene != drawn:
            drawn, pixels = scene, draw_scene(photos, settings, scene)
        transform = TRANSFORMS[0]
        if version:
            transform = TRANSFORMS[1 + (version - 1) % (len(TRANSFORMS) - 1)]
        rng = np.random.default_rng([settings.seed, scene, version + 1])
        copy = change(pixels, transform, rng)
        recompressed = transform == "recompression"
        quality = int(rng.integers(25, 55)) if recompressed else settings.quality
        jpeg = simplejpeg.encode_jpeg(copy, quality, "RGB", "420")
        height, width = copy.shape[:2]
        photo = photos[scene % len(photos)]
        yield CorpusImage(number, jpeg, width, height, scene, transform, photo)


def draw_scene(photos: list[Photo], settings: CorpusSettings, scene: int) -> Pixels:
    """Render scene number ``scene`` as uint8 (h, w, 3).

    The first scene of each photo is the whole photo as it is; the others are a turned, mirrored
    and recoloured crop of it with an inset from some photo.
    """
    photo = photos[scene % len(photos)]
    if scene < len(photos):
        width, height = _sides(settings.size, photo.width / photo.height)
        scales = np.diag([photo.width / width, photo.height / height])
        return _warp(photo, np.column_stack([scales, [0.0, 0.0]]), width, height)
    rng = np.random.default_rng([settings.seed, scene, 0])
    width, height = _sides(settings.size, ASPECTS[rng.integers(len(ASPECTS))])
    pixels = _warp(photo, _random_crop(photo, width, height, rng), width, height)
    inset = photos[rng.integers(len(photos))]
    share = rng.uniform(0.4, 0.6)  # of each side
    inner, outer = (int(share * width), int(share * height)), (width, height)
    left, top = (int(rng.uniform(0, o - i)) for i, o in zip(inner, outer, strict=True))
    picture = _warp(inset, _random_crop(inset, *inner, rng), *inner)
    pixels[top : top + inner[1], left : left + inner[0]] = picture
    return _recolour(pixels, rng, 0.35)


def change(pixels: Pixels, transform: str, rng: np.random.Generator) -> Pixels:
    """Return a copy of a scene under one of TRANSFORMS, drawn from ``rng``."""
    height, width = pixels.shape[:2]
    if transform == "crop":
        kept = rng.uniform(0.65, 0.9)
        left, top = (int(rng.uniform(0, 1 - kept) * side) for side in (width, height))
        part = pixels[top : top + int(kept * height), left : left + int(kept * width)]
        return _resized(part, width, height)
    if transform == "flip":
        return np.asarray(cv2.flip(pixels, 1), dtype=np.uint8)
    if transform == "colour":
        return _recolour(pixels, rng, 0.3)
    if transform == "overlay":
        return _overlaid(pixels, rng)
    if transform == "scale":
        factor = rng.uniform(0.5, 0.9)
        return _resized(pixels, round(width * factor), round(height * factor))
    if transform == "rotation":
        return _turned(pixels, float(rng.uniform(4, 20) * rng.choice([-1, 1])))
    return pixels


def _sides(shorter: int, aspect: float) -> tuple[int, int]:
    return (round(shorter * aspect), shorter) if aspect >= 1 else (shorter, round(shorter / aspect))


def _random_crop(photo: Photo, width: int, height: int, rng: np.random.Generator) -> Matrix:
    """Return a map (2 x 3) from a width x height picture to a turned, mirrored crop of photo."""
    largest = min(photo.width / width, photo.height / height)
    scale = largest * np.exp(rng.uniform(np.log(0.2), np.log(0.8)))
    turn, mirror = radians(rng.uniform(-30, 30)), rng.choice([-1.0, 1.0])
    x = rng.uniform(0.5 * scale * width, photo.width - 0.5 * scale * width)
    y = rng.uniform(0.5 * scale * height, photo.height - 0.5 * scale * height)
    linear = scale * np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]])
    linear[:, 0] *= mirror
    return np.column_stack([linear, np.array([x, y]) - linear @ [width / 2, height / 2]])


def _warp(photo: Photo, matrix: Matrix, width: int, height: int) -> Pixels:
    """Return the photo seen through ``matrix``, from the level that is nearest in scale."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    level = min(max(0, floor(log2(scale) + 0.25)), len(photo.levels) - 1)
    warped = cv2.warpAffine(
        photo.levels[level],
        matrix / 2**level,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, dtype=np.uint8)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _recolour(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Apply a random gamma, gain and offset to each channel."""
    gamma = np.exp(rng.uniform(-strength, strength, 3))
    gain = 1 + rng.uniform(-strength, strength, 3)
    offset = rng.uniform(-30, 30, 3) * strength
    levels = (np.arange(256)[:, None] / 255) ** gamma * 255 * gain + offset
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[:, None, :]
    return np.asarray(cv2.LUT(pixels, table), dtype=np.uint8)


def _turned(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, dtype=np.uint8)


def _overlaid(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw a band of one colour with lettering across the picture, as a meme or stamp would."""
    overlaid = pixels.copy()
    height, width = pixels.shape[:2]
    top = int(rng.uniform(0, 0.8) * height)
    band = max(8, int(rng.uniform(0.1, 0.2) * height))
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    cv2.rectangle(overlaid, (0, top), (width, top + band), colour, -1)
    contrast = (255, 255, 255) if sum(colour) < 384 else (0, 0, 0)
    at, text = (4, top + band - 3), f"No. {rng.integers(10**6):06d}"
    cv2.putText(overlaid, text, at, cv2.FONT_HERSHEY_SIMPLEX, band / 40, contrast, 1)
    return overlaid
