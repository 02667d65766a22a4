"""What a picture shows in a hundred points, to be found again in a changed copy of it.

SIFT (Lowe, Distinctive Image Features from Scale-Invariant Keypoints, 2004) as RootSIFT
(Arandjelovic and Zisserman, 2012), eight bits a number, and the picture itself, small, to lay over
another one.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import Bytes, Pixels
from pipeline.dedup.another_thing import Colours, colours
from pipeline.dedup.writing import SHORT as PAGE_SHORT
from pipeline.dedup.writing import Page, is_plain, page_jpeg, read_page
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage

SIDE = 128  # pixels of the longer side, in which points are looked for and which is kept
POINTS = 100  # at most, the strongest: more cost more than what they tell, but of collages
LEVELS = 512  # of a descriptor's unit length, so that eight bits hold each number
DIMENSIONS = 128
BLUR = 1.2  # pixels of the picture
SQUARE = 24  # pixels, to tell orientations apart
_MIRRORED = np.arange(DIMENSIONS).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()
Greys = NDArray[np.float32]
Points = NDArray[np.float32]  # (n, 4): x, y in pixels of the picture, size likewise, angle


@dataclass(frozen=True)
class Keypoints:
    """What is kept of a picture."""

    points: Points
    descriptors: Bytes  # (n, 128)
    picture: Pixels  # (h, w, 3), SIDE on the longer side
    jpeg: bytes | None = None  # as of ``page_jpeg``, of a plain picture

    @property
    def page(self) -> Page | None:
        """What is written on a plain picture."""
        return None if self.jpeg is None else read_page(self.jpeg)

    @cached_property
    def letters(self) -> int:
        """How many letters are written on it, as of ``Page``."""
        page = self.page
        return page.letters if page else 0

    @cached_property
    def grey(self) -> Greys:
        """The picture's brightness, (h, w), without its noise and the blocks of JPEG."""
        grey = cv2.cvtColor(self.picture, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), BLUR), np.float32)

    @cached_property
    def colours(self) -> Colours:
        """The picture as ``another_thing`` compares it, (h, w, 3)."""
        return colours(self.picture)

    @cached_property
    def square(self) -> Greys:
        """The same (SQUARE, SQUARE), of mean 0 and length 1; all 0 where nothing is seen."""
        square = cv2.resize(self.grey, (SQUARE, SQUARE), interpolation=cv2.INTER_AREA)
        square = square - square.mean()
        return np.asarray(square / max(float(np.linalg.norm(square)), 1e-6), np.float32)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """The descriptors float32 (n, 128), of unit length."""
        numbers = self.descriptors.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", numbers, numbers))[:, None]
        return np.asarray(numbers / np.maximum(lengths, 1e-6), np.float32)


def keypoints_of(data: bytes, pixels: Pixels, max_pixels: int) -> Keypoints:
    """Return the keypoints of a file, of which ``pixels`` are decoded, and its page if it is plain.

    One that is too large to be decoded for reading has no page.
    """
    found = find_keypoints(pixels)
    if not is_plain(found.picture):
        return found
    try:
        large = decode_rgb(data, PAGE_SHORT, max_pixels).pixels
    except UndecodableImage:
        return found
    return replace(found, jpeg=page_jpeg(large))


def find_keypoints(pixels: Pixels) -> Keypoints:
    """Return the keypoints of an RGB picture (h, w, 3)."""
    picture = scaled_to(pixels, SIDE)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT_create(POINTS, contrastThreshold=0.02, edgeThreshold=15)  # type: ignore[attr-defined]
    found, numbers = sift.detectAndCompute(grey, None)
    points = [(*point.pt, point.size, point.angle) for point in found[:POINTS]]
    array = np.array(points, np.float32).reshape(-1, 4)
    numbers = np.zeros((0, DIMENSIONS), np.float32) if numbers is None else numbers[:POINTS]
    return Keypoints(array, _root(numbers), picture)


def scaled_to(pixels: Pixels, side: int) -> Pixels:
    """Return (h, w, 3) with ``side`` pixels on its longer side, neither below 16."""
    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    size = max(16, round(width * factor)), max(16, round(height * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=way), dtype=np.uint8)


def _root(numbers: NDArray[np.float32]) -> Bytes:
    shares = numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1e-6)
    levels: Bytes = np.minimum(np.rint(np.sqrt(shares) * LEVELS), 255).astype(np.uint8)
    return levels


def mirrored(keypoints: Keypoints) -> Keypoints:
    """Return the keypoints of the picture seen in a mirror, left for right.

    A descriptor is a 4 x 4 grid of histograms of 8 directions, laid along its point's own angle: in
    a mirror the rows of the grid and the directions change sides.
    """
    points = keypoints.points.copy()
    points[:, 0] = keypoints.picture.shape[1] - 1 - points[:, 0]
    points[:, 3] = (180 - points[:, 3]) % 360
    turned = keypoints.descriptors.take(_MIRRORED, axis=1)
    return Keypoints(points, turned, np.asarray(cv2.flip(keypoints.picture, 1), np.uint8))
