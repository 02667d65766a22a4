"""What of two pictures laid over each other is another thing, as before one background.

Points and textures of a background agree whatever lies before it, and cloth has little texture of
its own. What tells them apart is colour: where it differs, one map of colours is fitted to all that
both show, which takes up a change of light, contrast or tint. An area that it explains neither way
is another thing, or one laid over: a band from edge to edge, as of a caption, and an area of one
colour in one of the pictures, as of a sticker, are left out.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import Bytes, Mask, Pixels, Reals, Vectors

STEP = 2  # pixels of the picture to one that is compared
FITTED = 4  # of these to one that the map is fitted to
LEAST = 60  # of these that both show
LEVELS = 20.0  # of 255 in one channel, from which a colour is another
FITS = 6  # rounds of weighing what fits badly less
NOISE = 2.0  # levels taken for fitting well
HELD = 10.0  # by which large weights of the fit are held back
LIGHT = 100.0  # levels of a vignette that is not held back
FLAT = 4.0  # levels of deviation of what is of one colour
BAND, BANDS = 0.7, 0.3  # share of a line that differs in a band, most of the lines that are bands
SOLID = np.ones((3, 3), np.uint8)
EDGE = 2  # pixels around an area that tell of its edge
SHAPES = 64  # of pictures, whose places stand in memory
Colours = NDArray[np.float32]  # (h, w, 3)


def colours(picture: Pixels) -> Colours:
    """Return a picture (h, w, 3) as it is compared, its noise and edges smoothed."""
    height, width = picture.shape[:2]
    size = max(1, width // STEP), max(1, height // STEP)
    small = cv2.resize(cv2.GaussianBlur(picture, (0, 0), 2), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def another_thing(here: Colours, other: Colours, affine: Reals) -> float:
    """Return the share of what both show whose colours differ by more than one change of all.

    here, other: as of ``colours``; affine (2, 3): the map of the pictures' pixels. 1 where
    too little is in both.
    """
    there, mask = _laid(here, other, affine)
    inside = np.flatnonzero(mask)
    if len(inside) < LEAST:
        return 1.0
    if not _opened(_apart(here, there, mask)).any():
        return 0.0
    places = _places(mask.shape)[:, inside]
    both = np.stack([picture.reshape(-1, 3).T.take(inside, axis=1) for picture in (here, there)])
    differs = np.zeros(mask.size, np.uint8)
    differs[inside] = _left(both, places).min(axis=0) > LEVELS
    return _solid(differs.reshape(mask.shape), mask, here, there) / len(inside)


def _solid(differs: Bytes, mask: Mask, here: Colours, there: Colours) -> int:
    """Return how many pixels of ``differs`` are in areas of a thing, not in bands or stickers."""
    for axis in (0, 1):
        # To take lines away makes no area solid.
        if not cv2.countNonZero(_opened(differs)):
            return 0
        differs = _without_bands(differs, mask, axis)
    return cv2.countNonZero(_without_stickers(_opened(differs), mask, here, there))


def _apart(here: Colours, there: Colours, mask: Mask) -> Bytes:
    """Return where the colours themselves differ by more than LEVELS in a channel: 1, else 0."""
    r, g, b = cv2.split(cv2.absdiff(here, there))
    differs = np.asarray(cv2.max(cv2.max(r, g), b)) > LEVELS
    return np.asarray(differs & mask, np.uint8)


def _opened(differs: Bytes) -> Bytes:
    return np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, SOLID), np.uint8)


@lru_cache(SHAPES)
def _places(shape: tuple[int, int]) -> Colours:
    """Return 1 and what a vignette takes, float32 (2, h w), of every pixel of a picture."""
    rows, columns = np.indices(shape)
    y, x = (found.ravel() / size - 0.5 for found, size in zip((rows, columns), shape, strict=True))
    return np.stack([np.ones(len(x)), LIGHT * (x * x + y * y)]).astype(np.float32)


def _laid(here: Colours, other: Colours, affine: Reals) -> tuple[Colours, Mask]:
    size = (here.shape[1], here.shape[0])
    coarse = affine.copy()
    # By centres: pixel n of these covers STEP pixels around STEP n + (STEP - 1) / 2.
    middle = (STEP - 1) / 2
    coarse[:, 2] = (affine[:, :2] @ [middle, middle] + affine[:, 2] - middle) / STEP
    there = cv2.warpAffine(other, coarse, size)
    inside = cv2.warpAffine(np.full(other.shape[:2], 255, np.uint8), coarse, size)
    return np.asarray(there, np.float32), cv2.erode(inside, SOLID) > 250


def _left(both: Vectors, places: Vectors) -> Vectors:
    """Return what of each of two pictures a map of the other's colours leaves, in levels, (2, n).

    both (2, 3, n), places (2, n). The map is linear but for a gamma and a vignette, and that of
    most of the pixels: least squares weighed anew by what was left (Huber, Robust Statistics, 1981,
    7.8).
    """
    known = _known(both, places)
    held = HELD * np.eye(known.shape[1], dtype=np.float32)
    some, wanted = (np.ascontiguousarray(part[:, :, ::FITTED]) for part in (known, both))
    count = some.shape[2]
    middle = (count - 1) // 2, count // 2
    weights: Vectors = np.ones((2, 1, count), np.float32)
    for _ in range(FITS):
        weighed = some * weights
        normal = weighed @ some.transpose(0, 2, 1) + held
        solved = np.linalg.solve(normal, weighed @ wanted.transpose(0, 2, 1))
        found = np.asarray(solved, np.float32).transpose(0, 2, 1)
        left = _largest(wanted - found @ some)
        ordered = np.partition(left, middle, axis=1)
        medians = (ordered[:, middle[0]] + ordered[:, middle[1]]) / 2
        scale = np.maximum(medians, np.float32(NOISE))[:, None]
        weights = np.asarray(scale / np.maximum(left, scale), np.float32)[:, None]
    return _largest(both - found @ known)


def _known(both: Vectors, places: Vectors) -> Vectors:
    """Return what is fitted to each of two pictures, of the other one: float32 (2, 6, n)."""
    known = np.empty((2, 6, both.shape[2]), np.float32)
    known[:, :3] = both[::-1]
    bright = (known[:, 0] + known[:, 1] + known[:, 2]) / 3
    known[:, 3] = bright * bright / 255
    known[:, 4:] = places
    return known


def _largest(errors: Vectors) -> Vectors:
    """Return the largest size of three channels' errors, (2, n) of (2, 3, n)."""
    np.abs(errors, out=errors)
    return np.maximum(np.maximum(errors[:, 0], errors[:, 1]), errors[:, 2])


def _without_bands(differs: Bytes, mask: Mask, axis: int) -> Bytes:
    """Return ``differs`` without lines that differ nearly from end to end, where these are few."""
    lines = mask.sum(axis=axis)
    band = differs.sum(axis=axis) > BAND * lines
    if lines[band].sum() > BANDS * lines.sum():
        return differs
    kept = np.expand_dims(~band, axis)
    return np.asarray(differs * kept, np.uint8)


def _without_stickers(differs: Bytes, mask: Mask, here: Colours, there: Colours) -> Bytes:
    """Return ``differs`` without areas of one colour, and an edge around, in one picture alone.

    All in the same picture: where it is things that differ, either picture has its own.
    """
    count, areas, boxes, _ = cv2.connectedComponentsWithStats(differs)
    stuck: tuple[list[int], list[int]] = ([], [])
    for area in range(1, count):
        x, y, wide, tall = boxes[area, :4].tolist()
        box = slice(max(0, y - EDGE), y + tall + EDGE), slice(max(0, x - EDGE), x + wide + EDGE)
        side = _stuck_in(areas[box] == area, mask[box], here[box], there[box])
        if side is not None:
            stuck[side].append(area)
        if all(stuck):
            return differs
    return np.where(np.isin(areas, stuck[0] + stuck[1]), 0, differs).astype(np.uint8)


def _stuck_in(area: Mask, mask: Mask, here: Colours, there: Colours) -> int | None:
    """Return in which of the two pictures an area is a sticker: 0, 1, or None."""
    own = area.astype(np.uint8)
    inner = cv2.erode(own, SOLID, iterations=2) > 0
    if not inner.any():
        return None
    flat = [_is_flat(picture[inner]) for picture in (here, there)]
    if sum(flat) != 1:
        return None
    side = flat.index(True)
    edge = (cv2.dilate(own, SOLID) > 0) & (cv2.erode(own, SOLID) == 0) & mask
    return side if _step((here, there)[side], edge) > LEVELS else None


def _is_flat(colours: Colours) -> bool:
    return bool(np.abs(colours - np.median(colours, axis=0)).max(axis=1).mean() < FLAT)


def _step(picture: Colours, edge: Mask) -> float:
    """Return by how many levels neighbours differ in a channel, at the middle of ``edge``."""
    steps = cv2.dilate(picture, SOLID) - cv2.erode(picture, SOLID)
    return float(np.median(steps[edge].max(axis=1)))
