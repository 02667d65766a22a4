"""What of two pictures laid over each other is another thing, as before one background.

Points and textures of a background agree whatever lies before it, and cloth has little texture of
its own. What tells them apart is colour: one map of colours is fitted to all that both show, which
takes up a change of light, contrast or tint. An area that it explains neither way is another thing,
or one laid over: a band from edge to edge, as of a caption, and an area of one colour in one of the
pictures, as of a sticker, are left out.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import Bytes, Mask, Pixels, Reals

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
    count = int(mask.sum())
    if count < LEAST:
        return 1.0
    rows, columns = np.nonzero(mask)
    y, x = (found / size - 0.5 for found, size in zip((rows, columns), mask.shape, strict=True))
    places = np.stack([np.ones(count), LIGHT * (x * x + y * y)], axis=1).astype(np.float32)
    one, two = here[mask], there[mask]
    differs = np.zeros(mask.shape, np.uint8)
    differs[mask] = (_left(one, two, places) > LEVELS) & (_left(two, one, places) > LEVELS)
    for axis in (0, 1):
        differs = _without_bands(differs, mask, axis)
    solid = np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, SOLID), np.uint8)
    return float(_without_stickers(solid, mask, here, there).sum() / count)


def _laid(here: Colours, other: Colours, affine: Reals) -> tuple[Colours, Mask]:
    size = (here.shape[1], here.shape[0])
    coarse = affine.copy()
    # By centres: pixel n of these covers STEP pixels around STEP n + (STEP - 1) / 2.
    middle = (STEP - 1) / 2
    coarse[:, 2] = (affine[:, :2] @ [middle, middle] + affine[:, 2] - middle) / STEP
    there = cv2.warpAffine(other, coarse, size)
    inside = cv2.warpAffine(np.full(other.shape[:2], 255, np.uint8), coarse, size)
    return np.asarray(there, np.float32), cv2.erode(inside, SOLID) > 250


def _left(one: Colours, other: Colours, places: Colours) -> NDArray[np.float32]:
    """Return what of ``one`` (n, 3) a map of ``other``'s colours leaves, in levels, (n,).

    The map is linear but for a gamma and a vignette, and that of most of the pixels: least squares
    weighed anew by what was left (Huber, Robust Statistics, 1981, 7.8).
    """
    bright = other.mean(axis=1, keepdims=True)
    known = np.concatenate([other, bright * bright / 255, places], axis=1)
    held = HELD * np.eye(known.shape[1], dtype=np.float32)
    some, wanted = known[::FITTED], one[::FITTED]
    weights = np.ones((len(some), 1), np.float32)
    for _ in range(FITS):
        weighed = (some * weights).T
        found = np.linalg.solve(weighed @ some + held, weighed @ wanted)
        left = np.abs(wanted - some @ found).max(axis=1)
        scale = max(float(np.median(left)), NOISE)
        weights = (scale / np.maximum(left, scale))[:, None]
    return np.asarray(np.abs(one - known @ found).max(axis=1), np.float32)


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
    count, areas = cv2.connectedComponents(differs)
    stuck: tuple[list[int], list[int]] = ([], [])
    for area in range(1, count):
        own = (areas == area).astype(np.uint8)
        inner = cv2.erode(own, SOLID, iterations=2) > 0
        edge = (cv2.dilate(own, SOLID) > 0) & (cv2.erode(own, SOLID) == 0) & mask
        flat = [inner.any() and _is_flat(picture[inner]) for picture in (here, there)]
        if sum(flat) == 1 and _step((here, there)[flat.index(True)], edge) > LEVELS:
            stuck[flat.index(True)].append(area)
    if all(stuck):
        return differs
    return np.where(np.isin(areas, stuck[0] + stuck[1]), 0, differs).astype(np.uint8)


def _is_flat(colours: Colours) -> bool:
    return bool(np.abs(colours - np.median(colours, axis=0)).max(axis=1).mean() < FLAT)


def _step(picture: Colours, edge: Mask) -> float:
    """Return by how many levels neighbours differ in a channel, at the middle of ``edge``."""
    steps = cv2.dilate(picture, SOLID) - cv2.erode(picture, SOLID)
    return float(np.median(steps[edge].max(axis=1)))
