"""What was done to a picture to make a copy, told from the two laid over each other."""

from dataclasses import dataclass
from math import degrees

import cv2
import numpy as np

from pipeline.core.arrays import AnyArray, Mask, Pixels
from pipeline.dedup.alignment import Affine
from pipeline.dedup.keypoints import Greys
from pipeline.dedup.look import Sight

PART = 0.95  # share of a picture below which the other shows a part of it alone
PLAIN, EDGE = 12.0, 2.0  # levels in which a border differs within; times that its edge stands out
STRAIGHT = 2.0  # degrees
STRETCH = 1.04  # ratio of scales
GREY, COLOURED = 6.0, 14.0  # levels between a place's largest and smallest channel, on average
RECOLOURED = 10.0  # levels by which colours differ, on average
COVERED = 0.05  # share of the places that disagree
SOFTER = 0.55  # times the detail


@dataclass(frozen=True)
class Side:
    """One of the two pictures: what it has that the other one lacks, or lacks that it has."""

    cropped: bool  # the other one goes on beyond its edges
    own: float  # share of its pixels that is the picture, not a border or page around it
    changed: bool  # it is the one that is grey, or softer


@dataclass(frozen=True)
class Difference:
    """The words for it, and what it says of each side."""

    words: str
    a: Side
    b: Side


def difference(a: Pixels, b: Pixels, sight: Sight) -> Difference:
    """Return how small pictures (h, w, 3) ``a`` and ``b``, laid over it, differ."""
    there, mask = _laid(a, b, sight.affine)
    inverse = cv2.invertAffineTransform(sight.affine)
    _, other_mask = _laid(b, a, inverse)
    words = _turn_words(sight.affine)
    a_framed, b_framed = _framed(a, mask), _framed(b, other_mask)
    of_a, of_b = sight.agreed.of_one, sight.agreed.of_other
    a_more, b_more = of_a < PART, of_b < PART
    words += _part_words("a", of_a, a_more, a_framed) + _part_words("b", of_b, b_more, b_framed)
    colour, a_grey, b_grey = _colour_words(a, there, mask)
    a_soft, b_soft = _softer(a, there, mask)
    words += colour + ["a is softer"] * a_soft + ["b is softer"] * b_soft
    if 1 - sight.agreed.places > COVERED:
        words.append(f"{1 - sight.agreed.places:.0%} is covered or differs")
    one = Side(b_more and not b_framed, of_a if a_more and a_framed else 1.0, a_grey or a_soft)
    other = Side(a_more and not a_framed, of_b if b_more and b_framed else 1.0, b_grey or b_soft)
    return Difference(", ".join(words), one, other)


def _laid(one: Pixels, other: Pixels, affine: Affine) -> tuple[Pixels, Mask]:
    size = (one.shape[1], one.shape[0])
    there = cv2.warpAffine(other, affine, size)
    inside = cv2.warpAffine(np.full(other.shape[:2], 255, np.uint8), affine, size)
    return np.asarray(there, np.uint8), inside > 250


def _turn_words(affine: Affine) -> list[str]:
    """Return how b is turned and stretched, by the map in pixels of the small pictures."""
    linear = affine[:, :2].copy()
    words = []
    if np.linalg.det(linear) < 0:
        linear[:, 0] *= -1
        words.append("mirrored")
    u, sizes, v = np.linalg.svd(linear)
    angle = degrees(np.arctan2((u @ v)[1, 0], (u @ v)[0, 0]))
    stretch = float(sizes[0] / sizes[1])
    if abs(abs(angle) - 180) < STRAIGHT and words:
        words, angle = ["mirrored upside down"], 0.0
    if abs(angle) >= STRAIGHT:
        words.append(f"turned by {round(angle):d} degrees")
    if stretch > STRETCH:
        words.append(f"stretched {stretch:.2f} times")
    return words


def _part_words(name: str, share: float, more: bool, framed: bool) -> list[str]:
    other = "b" if name == "a" else "a"
    if not more:
        return []
    if framed:
        return [f"{name} has a border or page around it ({share:.0%} is the picture)"]
    return [f"{other} is a crop of {name} ({share:.0%} of it)"]


def _framed(picture: Pixels, mask: Mask) -> bool:
    """Return whether what ``mask`` leaves out is a border or page, not more of the picture."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if not (~mask).any() or not mask.any():
        return False
    kernel = np.ones((3, 3), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, iterations=2) > 0
    outer = cv2.dilate(mask.astype(np.uint8), kernel, iterations=2) > 0
    outside = ~outer
    if outside.sum() > 20 and grey[outside].std() < PLAIN / 4:
        return True
    across, within = _steps(grey, mask, True), _steps(grey, inner, False)
    return bool(across > EDGE * within + 4)


def _steps(grey: Greys, mask: Mask, across: bool) -> float:
    """Return the mean step of brightness over four pixels, across the edge of ``mask`` or in it."""
    steps = []
    for axis in (0, 1):
        (grey_before, grey_after), (before, after) = _ends(grey, axis), _ends(mask, axis)
        counted = before != after if across else before & after
        steps.append(np.abs(grey_before - grey_after)[counted])
    found = np.concatenate(steps)
    return float(found.mean()) if len(found) else 0.0


def _ends(values: AnyArray, axis: int) -> tuple[AnyArray, AnyArray]:
    return (values[:-4], values[4:]) if axis == 0 else (values[:, :-4], values[:, 4:])


def _colour_words(a: Pixels, there: Pixels, mask: Mask) -> tuple[list[str], bool, bool]:
    one, other = (cv2.blur(p, (5, 5))[mask].astype(np.float32) for p in (a, there))
    spread = [float((p.max(axis=1) - p.min(axis=1)).mean()) for p in (one, other)]
    if spread[1] < GREY and spread[0] > COLOURED:
        return ["b is grey"], False, True
    if spread[0] < GREY and spread[1] > COLOURED:
        return ["a is grey"], True, False
    if np.median(np.abs(one - other).mean(axis=1)) > RECOLOURED:
        return ["recoloured"], False, False
    return [], False, False


def _softer(a: Pixels, there: Pixels, mask: Mask) -> tuple[bool, bool]:
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < 100:
        return False, False
    detail = []
    for picture in (a, there):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        detail.append(float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[inner].mean()))
    return detail[0] < SOFTER * detail[1], detail[1] < SOFTER * detail[0]
