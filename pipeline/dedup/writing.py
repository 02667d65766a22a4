"""What is written on two pictures of pages: whether it is the same, letter by letter.

At the size at which points are looked for, forms with other numbers in them are one picture. So of
a picture that is plain for the most part the brightness is kept at a size at which one can read,
and where it holds writing, what is inked is compared piece by piece.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pipeline.core.arrays import AnyArray, Bytes, Mask, Pixels, Reals, Vectors

SIDE = 1000  # pixels of the longer side, at most, of a page that is kept
SHORT = 640  # pixels of the shorter one that it is decoded to cover
KEPT = 64  # pages in memory
QUALITY = 85  # of the JPEG that it is kept as
PLAIN, WITHIN = 0.6, 20  # share of a plain picture that is of one brightness, levels of 255
WRITTEN = 100  # letters of a page on which something is written
INK = 40  # levels by which ink stands out
TALL, WIDE = (4, 60), 100  # pixels of a letter
EVEN = (0.6, 1.7)  # times the height of the middle one
ENOUGH = 0.25  # share of all areas, and of their pixels, that are letters where anything is written
LEGIBLE = 5.0  # pixels of a letter's height that it takes to read it
BLOCK, FAR = (48, 64), 16  # rows and columns by which pages are aligned, and pixels, of halves
CLOSE = 3.0  # pixels within which blocks must agree on where a page lies
PIECE, NEAR = (24, 32), 6  # likewise those that are compared, of whole ones
SMOOTH = 0.8  # pixels
STROKE = 9  # pixels of a place
CLEAR, INKED, NOISE = 10.0, 300.0, 30.0  # deviation of a piece, variances of ink and of noise
ALIKE = 0.5  # correlation of a place from which it is the same
OTHER = 0.002  # share of the inked places from which something else is written


@dataclass(frozen=True)
class Page:
    """A picture at a size at which one can read it, and what is written on it."""

    grey: Bytes  # (h, w)
    letters: int
    height: float  # pixels of the middle one of them


def is_plain(pixels: Pixels) -> bool:
    """Return whether most of a picture (h, w, 3) is of one brightness, as a page is."""
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (0, 0), 1)
    near = np.convolve(np.bincount(grey.ravel(), minlength=256), np.ones(2 * WITHIN + 1), "same")
    return bool(near.max() > PLAIN * grey.size)


def page_jpeg(pixels: Pixels) -> bytes:
    """Return the brightness of a picture (h, w, 3) as a JPEG of SIDE pixels, or fewer, a side."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    factor = SIDE / max(grey.shape)
    if factor < 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@lru_cache(KEPT)
def read_page(jpeg: bytes) -> Page:
    """Return the page that ``page_jpeg`` has kept, and the letters on it.

    Taken for letters are areas that stand out from the page and are about equally tall, where they
    are enough of all areas and of their pixels: those of cloth or of noise are of all sizes.
    """
    data = np.frombuffer(jpeg, np.uint8)
    grey = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    paper = int(np.convolve(np.bincount(grey.ravel(), minlength=256), np.ones(9), "same").argmax())
    ink = cv2.compare(cv2.absdiff(grey, np.full_like(grey, paper)), INK, cv2.CMP_GT)
    areas = cv2.connectedComponentsWithStats(np.asarray(ink, np.uint8))[2][1:]
    wide, tall, pixels = areas[:, cv2.CC_STAT_WIDTH], areas[:, cv2.CC_STAT_HEIGHT], areas[:, -1]
    letters = (tall >= TALL[0]) & (tall <= TALL[1]) & (wide <= WIDE)
    height = float(np.median(tall[letters])) if letters.any() else 0.0
    letters &= (tall > EVEN[0] * height) & (tall < EVEN[1] * height)
    written = (
        letters.sum() > ENOUGH * len(letters) and pixels[letters].sum() > ENOUGH * pixels.sum()
    )
    return Page(grey, int(letters.sum()) if written else 0, height)


def written_otherwise(one: Page | None, other: Page | None, affine: Reals) -> bool:
    """Return whether one of two pages holds writing that the other does not show to be its own.

    None: a picture that is not plain. affine (2, 3): the map of ``other``'s pixels onto ``one``'s.
    So are pages of which one is too small for its letters to be read.
    """
    if max(page.letters if page else 0 for page in (one, other)) < WRITTEN:
        return False
    if one is None or other is None:
        return True
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))  # of other's pixels to one's
    if scale < 1:
        one, other, affine, scale = other, one, cv2.invertAffineTransform(affine), 1 / scale
    if max(one.height, other.height * scale) / scale < LEGIBLE:
        return True
    return _otherwise(one.grey, other.grey, affine, scale)


def _otherwise(fine: Bytes, coarse: Bytes, affine: Reals, scale: float) -> bool:
    """Compare two pages at the size of the finer one, made as soft as the coarser one is there."""
    soft = cv2.GaussianBlur(fine, (0, 0), float(np.hypot(SMOOTH, 0.5 * np.sqrt(scale**2 - 1))))
    here = soft.astype(np.float32)
    there, shown = _laid(coarse, _aligned(here, coarse, affine), here)
    most = OTHER * int((_strokes(here, there)[0] & shown).sum())
    others = 0
    for place, found in _pieces(here, there, shown, PIECE, NEAR):
        ink, alike = _strokes(_cut(here, place, PIECE), _cut(there, found, PIECE))
        unlike = (ink & (alike < ALIKE)).astype(np.uint8)
        others += int(cv2.morphologyEx(unlike, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).sum())
        if others > most:
            return True
    return False


def _laid(coarse: Bytes, affine: Reals, here: Vectors) -> tuple[Vectors, Mask]:
    size = (here.shape[1], here.shape[0])
    laid = cv2.warpAffine(coarse, affine, size, flags=cv2.INTER_CUBIC)
    shown = cv2.warpAffine(np.full(coarse.shape, 255, np.uint8), affine, size) > 250
    return np.asarray(cv2.GaussianBlur(laid, (0, 0), SMOOTH), np.float32), shown


def _aligned(here: Vectors, coarse: Bytes, affine: Reals) -> Reals:
    """Return ``affine`` as most blocks of the page, at half its size, want it."""
    there, shown = _laid(coarse, affine, here)
    halves = np.ascontiguousarray(here[::2, ::2]), np.ascontiguousarray(there[::2, ::2])
    places = np.array(list(_pieces(*halves, shown[::2, ::2], BLOCK, FAR)), np.float64) * 2
    if len(places) < 3:
        return affine
    mine, theirs = places[:, 0, ::-1], places[:, 1, ::-1]
    better, _ = cv2.estimateAffine2D(theirs, mine, ransacReprojThreshold=CLOSE)
    if better is None:
        return affine
    return np.asarray(better @ np.vstack([affine, [0, 0, 1]]), np.float64)


def _pieces(
    here: Vectors, laid: Vectors, shown: Mask, size: tuple[int, int], reach: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where (y, x) the inked pieces of ``here`` lie, and what in ``laid`` is like them."""
    tall, wide = size
    for y in range(reach, here.shape[0] - tall - reach + 1, tall):
        for x in range(reach, here.shape[1] - wide - reach + 1, wide):
            piece = _cut(here, (y, x), size)
            inked = max(piece.std(), _cut(laid, (y, x), size).std()) >= CLEAR
            if not inked or not _cut(shown, (y, x), size).all():
                continue
            near = _cut(laid, (y - reach, x - reach), (tall + 2 * reach, wide + 2 * reach))
            right, down = cv2.minMaxLoc(cv2.matchTemplate(near, piece, cv2.TM_CCOEFF_NORMED))[3]
            yield (y, x), (y - reach + down, x - reach + right)


def _cut(page: AnyArray, place: tuple[int, int], size: tuple[int, int]) -> AnyArray:
    return page[place[0] : place[0] + size[0], place[1] : place[1] + size[1]]


def _strokes(one: Vectors, other: Vectors) -> tuple[Mask, Vectors]:
    """Return which places (h, w) of either piece are inked, and how both correlate there."""
    a, b = _mean(one), _mean(other)
    aa, bb = _mean(one * one) - a * a, _mean(other * other) - b * b
    ab = _mean(one * other) - a * b
    spread = np.sqrt((np.maximum(aa, 0) + NOISE) * (np.maximum(bb, 0) + NOISE))
    return np.maximum(aa, bb) > INKED, np.asarray((ab + NOISE) / spread, np.float32)


def _mean(values: Vectors) -> Vectors:
    return np.asarray(cv2.boxFilter(values, -1, (STROKE, STROKE)), np.float32)
