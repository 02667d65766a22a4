"""What decoding an image gives: its pixels, or why there are none; and what it may take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Pixels

EXTREME = 10_000  # times longer than wide
AT_ONCE = 2**25  # pixels that the threads of a process decode at once; one that has more, alone
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class UndecodableImage(Exception):  # noqa: N818 (a fact about an image, as StopIteration is)
    """An image for the quarantine: ``reason`` is one of a few words, ``detail`` what was met."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """RGB pixels (h, w, 3), perhaps scaled down; width and height are the original's."""

    pixels: Pixels
    width: int
    height: int
    pages: int = 1  # pages or frames of the file, of which this is the first
    decoded: float = 1.0  # share of the rows that are right, at most


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (2-8): mirrored in its plane, or turned by quarters, or both."""
    turned = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    image = np.rot90(pixels, turned)
    if orientation in (2, 4, 5, 7):
        image = {2: np.fliplr, 4: np.fliplr, 5: np.flipud, 7: np.flipud}[orientation](image)
    return np.ascontiguousarray(image)


def refuse_shape(width: int, height: int) -> None:
    """Raise UndecodableImage for a shape that no square can stand for."""
    if max(width, height) > EXTREME * min(width, height):
        detail = f"{width} x {height} pixels; no side may be {EXTREME:,} times the other"
        raise UndecodableImage("extreme-shape", detail)


def refuse_large(width: int, height: int, pixels: int, max_pixels: int) -> None:
    """Raise UndecodableImage where ``pixels``, those to be decoded, are too many."""
    if pixels > max_pixels:
        raise UndecodableImage(
            "too-large",
            f"{width} x {height} pixels, of which {pixels:,} must be decoded; the limit is "
            f"{max_pixels:,}: make it smaller, or set source.max_pixels higher and choose another "
            "output folder",
        )


_free = threading.Condition()
_taken = [0]


@contextmanager
def room_for(pixels: int) -> Iterator[None]:
    """Wait until what other threads of this process decode leaves room for ``pixels``."""
    with _free:
        _free.wait_for(lambda: not _taken[0] or _taken[0] + pixels <= AT_ONCE)
        _taken[0] += pixels
    try:
        yield
    finally:
        with _free:
            _taken[0] -= pixels
            _free.notify_all()
