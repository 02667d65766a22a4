"""Pictures that look alike and are no copies: other things photographed before one background.

The things are cut out of photographs that show them before a plain one.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from pipeline.core.arrays import Bytes, Mask, Pixels

EDGE = 20  # a margin is one part in these of a side
PLAIN = 0.93  # share of the margins that is of one colour, of a plain background
LEVELS = 28  # of 255, within which it is
SMALL, LARGE = 0.08, 0.7  # share of a photograph that a thing takes up
SIZES = (0.45, 0.9)  # of a thing, in shares of what it is laid before
MIDDLE = (0.3, 0.7)  # where it lies, in shares of the room that it leaves


def cut_out(picture: Pixels) -> Mask | None:
    """Return which pixels (h, w) show the thing before a plain background; None: it is not plain.

    The largest area whose colour is not that of the margins, and what it encloses.
    """
    height, width = picture.shape[:2]
    inner = np.ones((height, width), np.bool_)
    inner[height // EDGE : height - height // EDGE, width // EDGE : width - width // EDGE] = False
    margin = picture[inner].astype(np.int64)
    colour = np.median(margin, axis=0)
    if (np.abs(margin - colour).max(axis=1) < LEVELS).mean() < PLAIN:
        return None
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5).astype(np.int64)
    other = (np.abs(soft - colour).max(axis=2) > LEVELS).astype(np.uint8)
    other = np.asarray(cv2.morphologyEx(other, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)))
    other = np.asarray(cv2.morphologyEx(other, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)))
    mask = _largest(other)
    return mask if SMALL < mask.mean() < LARGE else None


def _largest(areas: Bytes) -> Mask:
    outlines, _ = cv2.findContours(areas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(areas.shape, np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, -1)
    return filled > 0


def laid_before(
    background: Pixels, picture: Pixels, mask: Mask, rng: np.random.Generator
) -> Pixels:
    """Return ``background`` (h, w, 3) with what ``mask`` cuts out of ``picture`` before it."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = slice(y, y + height), slice(x, x + width)
    thing, shape = picture[part], mask[part].astype(np.float32)
    height, width = background.shape[:2]
    factor = rng.uniform(*SIZES) * min(height / shape.shape[0], width / shape.shape[1])
    size = max(8, int(shape.shape[1] * factor)), max(8, int(shape.shape[0] * factor))
    thing = np.asarray(cv2.resize(thing, size, interpolation=cv2.INTER_AREA), np.uint8)
    shape = cv2.GaussianBlur(cv2.resize(shape, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    y, x = (
        int((whole - own) * rng.uniform(*MIDDLE))
        for whole, own in ((height, size[1]), (width, size[0]))
    )
    made = background.copy()
    behind = made[y : y + size[1], x : x + size[0]]
    opacity = np.asarray(shape)[..., None]
    behind[:] = np.rint(behind * (1 - opacity) + thing * opacity)
    return made


def before_one_background(
    backgrounds: list[Pixels], pictures: list[Pixels], each: int, rng: np.random.Generator
) -> Iterator[list[Pixels]]:
    """Yield, for each of ``backgrounds``, it with ``each`` things cut out of ``pictures``."""
    masks = [(picture, cut_out(picture)) for picture in pictures]
    things = [(picture, mask) for picture, mask in masks if mask is not None]
    for background in backgrounds if things else []:
        drawn = [things[place] for place in rng.permutation(len(things))[:each]]
        yield [laid_before(background, picture, mask, rng) for picture, mask in drawn]
