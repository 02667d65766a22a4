"""What was done to a picture to make a copy, told from the two laid over each other."""

from dataclasses import dataclass
from math import atan2, degrees, hypot

import cv2
import numpy as np

from pipeline.core.arrays import Bytes, Mask, Pixels
from pipeline.dedup.alignment import Affine
from pipeline.dedup.keypoints import Greys
from pipeline.dedup.look import Sight

PART = 0.95  # share of a picture below which the other shows a part of it alone
PLAIN, NEAR, FLAT = 0.7, 8, 2  # share of a border of one brightness, levels of 255 nearly and well
STEP = 4.0  # levels by which the edge of a border stands out
SEAM, BESIDE, LEFT = 1.4, 6, 3.0  # times those so many pixels beside it, and levels more
MARGIN = 0.02  # share of a picture by which its borders may be larger: each by half a pixel of 128
STRAIGHT = 2.0  # degrees
STRETCH = 1.04  # ratio of scales
PROPORTIONS, USUAL = (1, 5 / 4, 4 / 3, 3 / 2, 16 / 9), 0.015  # of sides, and how near they are
GREY, COLOURED = 3.0, 5.0  # levels between a place's largest and smallest channel, on average
RECOLOURED = 3.5  # levels by which half of the areas differ in a channel
SMALLEST, AREA = (3, 3), (7, 7)  # places and areas of colour, in pixels of half the size
STRONG, SMALL = 30, 0.05  # likewise of some areas alone, as of a thing on a plain ground, and share
COVERED = 0.02  # share of the places that disagree
UNDISTURBED = 0.8  # share of the places that agree from which detail is compared
SOFTER = 0.76  # times the detail of most places, of one contrast and in as many pixels
PLACE, TEXTURE = (9, 9), 4.0  # pixels, levels of deviation
FINE, COARSER = 0.5, 0.35  # pixels of blur: of both, and of one times what the other is coarser
# Times the other's detail that a picture saved at a lower quality has: at least, of its places with
# texture, unless the other is sharpened or noisy; at most, of the rest, unless the other was saved
# at a lower one before.
SHARP, FLATTER = 0.965, 1.1
NOWHERE = np.empty(0, np.float32)
Sides = tuple[bool, bool]  # a, b


@dataclass(frozen=True)
class Side:
    """One of the two pictures: what it has that the other one lacks, or lacks that it has."""

    cropped: bool  # the other one goes on beyond its edges
    own: float  # share of its pixels that is the picture, not a border or page around it
    changed: bool  # it is the one that is grey, or softer
    stretched: bool  # it alone has proportions that are not usual, and one is stretched


@dataclass(frozen=True)
class Difference:
    """The words for it, what it says of each side, and what of one of both, not known which."""

    words: str
    a: Side
    b: Side
    turned: bool  # or mirrored, one against the other
    stretch: float  # how many times as much one is stretched in one direction as across it
    recoloured: bool
    a_saved: bool  # a may be b saved at a lower quality
    b_saved: bool


def difference(a: Pixels, b: Pixels, sight: Sight) -> Difference:
    """Return how pictures (h, w, 3) ``a`` and ``b``, laid over it, differ."""
    there = np.asarray(cv2.warpAffine(b, sight.affine, (a.shape[1], a.shape[0])), np.uint8)
    mask = _covered(a, b, sight.affine)
    turned, stretch = _turn_words(sight.affine), _stretch(sight.affine)
    words = turned + [f"stretched {stretch:.2f} times"] * (stretch > STRETCH)
    of_a, of_b = sight.agreed.of_one, sight.agreed.of_other
    a_more, b_more = of_a < PART, of_b < PART
    a_framed = a_more and _framed(a, mask)
    inverse = cv2.invertAffineTransform(sight.affine)
    b_framed = b_more and _framed(b, _covered(b, a, inverse))
    words += _part_words("a", of_a, a_more, a_framed) + _part_words("b", of_b, b_more, b_framed)
    colour, a_grey, b_grey = _colour_words(a, there, mask, 1 - sight.agreed.places <= COVERED)
    (a_soft, b_soft), saved = _by_detail(a, b, sight, not colour)
    words += colour + ["a is softer"] * a_soft + ["b is softer"] * b_soft
    if 1 - sight.agreed.places > COVERED:
        words.append(f"{1 - sight.agreed.places:.0%} is covered or differs")
    # Where both seem to have a border, as things turned on a plain ground, neither has it for sure.
    a_own, b_own = (
        share - MARGIN if framed and not both else 1.0
        for share, framed, both in ((of_a, a_framed, b_framed), (of_b, b_framed, a_framed))
    )
    stretched = stretch > STRETCH and _is_usual(a) != _is_usual(b)
    one = Side(b_more and not b_framed, a_own, a_grey or a_soft, stretched and _is_usual(b))
    other = Side(a_more and not a_framed, b_own, b_grey or b_soft, stretched and _is_usual(a))
    changed = bool(turned), stretch, "recoloured" in colour
    return Difference(", ".join(words), one, other, *changed, *saved)


def _is_usual(picture: Pixels) -> bool:
    """Return whether a picture's sides are in proportions that cameras and screens have."""
    return any(
        abs(max(picture.shape) / min(picture.shape[:2]) / p - 1) < USUAL for p in PROPORTIONS
    )


def _covered(one: Pixels, other: Pixels, affine: Affine) -> Pixels:
    """Return where ``other`` is, laid over ``one``: uint8 (h, w), 255 or 0."""
    size = (one.shape[1], one.shape[0])
    inside = cv2.warpAffine(np.full(other.shape[:2], 255, np.uint8), affine, size)
    return np.asarray(cv2.compare(inside, 250, cv2.CMP_GT), np.uint8)


def _turn_words(affine: Affine) -> list[str]:
    """Return how b is turned, by the map in pixels."""
    a, b, c, d = affine[:, :2].ravel().tolist()
    words = []
    if a * d < b * c:
        a, c = -a, -c
        words.append("mirrored")
    angle = degrees(atan2(c - b, a + d))  # of the nearest rotation, by the polar decomposition
    if abs(abs(angle) - 180) < STRAIGHT and words:
        words, angle = ["mirrored upside down"], 0.0
    if abs(angle) >= STRAIGHT:
        words.append(f"turned by {round(angle):d} degrees")
    return words


def _stretch(affine: Affine) -> float:
    """Return how many times as much the map stretches in one direction as across it."""
    a, b, c, d = affine[:, :2].ravel().tolist()
    # The singular values are half of their sum and of their difference.
    turning, shearing = hypot(a + d, c - b), hypot(a - d, b + c)
    return (turning + shearing) / max(abs(turning - shearing), 1e-9)


def _part_words(name: str, share: float, more: bool, framed: bool) -> list[str]:
    other = "b" if name == "a" else "a"
    if not more:
        return []
    if framed:
        return [f"{name} has a border or page around it ({share:.0%} is the picture)"]
    return [f"{other} is a crop of {name} ({share:.0%} of it)"]


def _framed(picture: Pixels, mask: Pixels) -> bool:
    """Return whether what ``mask`` leaves out is a border, page or other picture."""
    if cv2.countNonZero(mask) in (0, mask.size):
        return False
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    outside = cv2.bitwise_not(cv2.dilate(mask, kernel, iterations=2))
    steps = _steps(grey, mask)
    if cv2.countNonZero(outside) > 20 and len(steps) and _is_plain(grey[outside > 0], steps):
        return True
    moved = (way(mask, kernel, iterations=BESIDE) for way in (cv2.erode, cv2.dilate))
    beside = max(_median(_steps(picture, np.asarray(edge, np.uint8))) for edge in moved)
    return _median(_steps(picture, mask)) > SEAM * beside + LEFT


def _is_plain(outside: Bytes, steps: Bytes) -> bool:
    """Return whether what is ``outside`` is of one brightness, and stands out by ``steps``."""
    off = np.abs(outside - np.median(outside))
    step = float(np.median(steps))
    plain, flat = ((off <= most).mean() > PLAIN for most in (NEAR, FLAT))
    return bool((plain and step > STEP) or (flat and step > 0 and steps.mean() > STEP))


def _median(steps: Bytes) -> float:
    """Return the median of the channel (n, 3) whose steps are the largest."""
    return float(np.median(steps, axis=0).max()) if len(steps) else 0.0


def _steps(picture: Pixels, mask: Pixels) -> Bytes:
    """Return the steps over four pixels, of brightness (n,) or of channels (n, 3) as ``picture`` is
    (h, w) or (h, w, 3), across the edge of ``mask``.
    """
    steps = []
    for axis in (0, 1):
        before, after = _ends(mask, axis)
        counted = cv2.bitwise_xor(before, after)
        steps.append(np.asarray(cv2.absdiff(*_ends(picture, axis)), np.uint8)[counted > 0])
    return np.concatenate(steps)


def _ends(values: Pixels, axis: int) -> tuple[Pixels, Pixels]:
    return (values[:-4], values[4:]) if axis == 0 else (values[:, :-4], values[:, 4:])


def _colour_words(
    a: Pixels, there: Pixels, mask: Pixels, as_drawn: bool
) -> tuple[list[str], bool, bool]:
    """Return what was done to colours, and which is grey; ``as_drawn``: nothing is covered.

    At half the size, as colours are not a matter of detail.
    """
    a, there, mask = (p[: p.shape[0] // 2 * 2, : p.shape[1] // 2 * 2] for p in (a, there, mask))
    a, there = (_halved(picture) for picture in (a, there))
    mask = np.asarray(cv2.compare(_halved(mask), 250, cv2.CMP_GT), np.uint8)
    spread = [
        cv2.mean(cv2.subtract(cv2.max(cv2.max(r, g), b), cv2.min(cv2.min(r, g), b)), mask)[0]
        for r, g, b in (cv2.split(cv2.blur(picture, SMALLEST)) for picture in (a, there))
    ]
    if spread[1] < GREY and spread[0] > COLOURED:
        return ["b is grey"], False, True
    if spread[0] < GREY and spread[1] > COLOURED:
        return ["a is grey"], True, False
    shown = (mask > 0).astype(np.float32)[..., None]
    planes = cv2.split(cv2.blur((a.astype(np.float32) - there) * shown, AREA))
    r, g, b = (cv2.absdiff(plane, 0.0) for plane in planes)
    apart = cv2.max(cv2.max(r, g), b) / cv2.max(cv2.blur(shown, AREA), 0.01)
    apart = apart[mask > 0]
    recoloured = _of_most(apart > RECOLOURED)
    if not recoloured and as_drawn and len(apart):
        recoloured = bool((apart > STRONG).mean() > SMALL)
    return ["recoloured"] * recoloured, False, False


def _halved(picture: Pixels) -> Pixels:
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def _by_detail(a: Pixels, b: Pixels, sight: Sight, told: bool) -> tuple[Sides, Sides]:
    """Return which is softer, and which may be the other one saved at a lower quality, if it is
    ``told`` by detail at all.
    """
    if not told or sight.agreed.places <= UNDISTURBED:
        return (False, False), (False, False)
    textured, plain = _detail_against(a, b, sight.affine)
    softer = _of_most(textured < SOFTER), _of_most(textured > 1 / SOFTER)
    a_saved = _of_most(textured > SHARP) and not _of_most(plain > FLATTER)
    b_saved = _of_most(textured < 1 / SHARP) and not _of_most(plain < 1 / FLATTER)
    return softer, (a_saved, b_saved)


def _detail_against(a: Pixels, b: Pixels, affine: Affine) -> tuple[Greys, Greys]:
    """Return times how much of the detail of ``b``, of that both can show, ``a`` has at its places
    with texture, at all where there are none, and at the others.

    They are compared in the pixels of the coarser one, and in one contrast.
    """
    if np.linalg.det(affine[:, :2]) ** 2 > 1:
        textured, plain = _detail_against(b, a, cv2.invertAffineTransform(affine))
        return np.float32(1) / textured, np.float32(1) / plain
    scale = abs(float(np.linalg.det(affine[:, :2]))) ** 0.5
    here, fine = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (a, b))
    fine = cv2.GaussianBlur(fine, (0, 0), max(COARSER * (scale**-2 - 1) ** 0.5, 0.01))
    there = cv2.warpAffine(fine, affine, here.shape[::-1], flags=cv2.INTER_LANCZOS4)
    inner = np.asarray(cv2.erode(_covered(a, b, affine), np.ones((7, 7), np.uint8)), np.uint8)
    if cv2.countNonZero(inner) < 100:
        return NOWHERE, NOWHERE
    (one, textured), (other, as_textured) = (_detail(grey) for grey in (here, there))
    ratios = np.asarray(one / other, np.float32)
    places = np.maximum(textured, as_textured) > TEXTURE
    shown, elsewhere = ratios[(inner > 0) & places], ratios[(inner > 0) & ~places]
    return shown if len(shown) else elsewhere, elsewhere


def _of_most(places: Mask) -> bool:
    """Return whether more than half are so, as then the median is."""
    return bool(2 * np.count_nonzero(places) > places.size)


def _detail(grey: Greys) -> tuple[Greys, Greys]:
    """Return of each place the second steps of brightness over its deviation, and that."""
    steps = np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), FINE), cv2.CV_32F))
    mean = cv2.blur(grey, PLACE)
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, PLACE) - mean * mean, 0))
    return (cv2.blur(steps, PLACE) + 0.1) / (deviation + 2), deviation
