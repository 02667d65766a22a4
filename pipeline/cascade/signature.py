"""A cheap signature of a photo: header facts, colours, edges, texture and a thumbnail, 244 bytes.

Everything but the header facts is computed on a square of ``SIDE`` pixels, so that its cost does
not depend on the photo's size.
"""

from typing import Any

import cv2
import numpy as np

from pipeline.core.arrays import AnyArray, Pixels

SIDE = 64  # pixels; the side of the square the caller resizes the scaled decode to
RGB_BINS = 4  # a channel
HUES, SATURATIONS = 8, 4  # _hsv_counts shifts by them
ORIENTATIONS = 8
THUMBNAIL = 5  # pixels a side
GRID = 2  # cells a side for orientations and brightness

# Columns of each part, in order. Parts are scaled to 0..255 and rounded.
PARTS: dict[str, int] = {
    "shape": 3,
    "rgb": RGB_BINS**3,
    "hsv": HUES * SATURATIONS,
    "brightness": GRID * GRID * 2,
    "edge": ORIENTATIONS * GRID * GRID + GRID * GRID,
    "texture": 26,
    "thumbnail": THUMBNAIL * THUMBNAIL * 3,
}
LENGTH = sum(PARTS.values())  # bytes


def part_slice(name: str) -> slice:
    """Return the columns of one part of PARTS. Raises KeyError for another name."""
    names = list(PARTS)
    start = sum(PARTS[n] for n in names[: names.index(name)]) if name in PARTS else PARTS[name]
    return slice(start, start + PARTS[name])


def signature(square: Pixels, width: int, height: int, size: int) -> Any:
    """Return uint8 (LENGTH,) of uint8 (SIDE, SIDE, 3) RGB ``square`` and its file's header.

    width, height are the original's in pixels, size its bytes. Histograms hold square roots of
    shares, so that their Euclidean distance is Hellinger's. Raises ValueError for another shape.
    """
    if square.shape != (SIDE, SIDE, 3) or square.dtype != np.uint8:
        raise ValueError(f"want uint8 ({SIDE}, {SIDE}, 3), got {square.dtype} {square.shape}")
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    parts = (
        _shape(width, height, size),
        _root_shares(_rgb_counts(square)),
        _root_shares(_hsv_counts(square)),
        _brightness(grey),
        _edges(grey),
        _texture(grey),
        cv2.resize(square, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel() / 255.0,
    )
    return np.rint(np.concatenate(parts).clip(0, 1) * 255).astype(np.uint8)


def _shape(width: int, height: int, size: int) -> Any:
    """Aspect, pixels and bytes a pixel, each on a log scale between generous bounds."""
    aspect = (np.log2(width / height) + 3) / 6
    pixels = np.log2(width * height) / 28
    density = (np.log2(8 * size / (width * height)) + 4) / 10
    return np.array([aspect, pixels, density])


def _root_shares(counts: AnyArray) -> Any:
    return np.sqrt(counts / max(counts.sum(), 1e-9))


def _rgb_counts(square: Pixels) -> Any:
    level = square // (256 // RGB_BINS)
    code = (level[..., 0] * RGB_BINS + level[..., 1]) * RGB_BINS + level[..., 2]
    return np.bincount(code.ravel(), minlength=RGB_BINS**3)


def _hsv_counts(square: Pixels) -> Any:
    hsv = cv2.cvtColor(square, cv2.COLOR_RGB2HSV_FULL)
    code = (hsv[..., 0] >> 5) * SATURATIONS + (hsv[..., 1] >> 6)
    return np.bincount(code.ravel(), minlength=HUES * SATURATIONS)


def _cells(grid: AnyArray) -> Any:
    """View (SIDE, SIDE) as (GRID * GRID, pixels of a cell)."""
    step = SIDE // GRID
    return grid.reshape(GRID, step, GRID, step).swapaxes(1, 2).reshape(GRID * GRID, -1)


def _brightness(grey: Pixels) -> Any:
    cells = _cells(grey).astype(np.float32)
    return np.concatenate([cells.mean(axis=1), 2 * cells.std(axis=1)]) / 255.0


def _edges(grey: Pixels) -> Any:
    """Orientations weighted by gradient (HOG, Dalal & Triggs 2005) and mean energy, by cell."""
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(dx, dy)
    turn = (angle * (ORIENTATIONS / np.pi)).astype(np.intp) % ORIENTATIONS
    cell = np.arange(GRID * GRID)[:, None] * ORIENTATIONS
    counts = np.bincount(
        (_cells(turn) + cell).ravel(), _cells(strength).ravel(), GRID * GRID * ORIENTATIONS
    )
    energy = _cells(strength).mean(axis=1) / 512
    return np.concatenate([_root_shares(counts), np.sqrt(energy)])


def _texture(grey: Pixels) -> Any:
    """Shares of 16 patterns of brighter neighbours (above, right, below, left: LBP, Ojala 2002)
    and of 10 levels of difference along the diagonal."""
    core = grey[1:-1, 1:-1]
    ring = (grey[:-2, 1:-1], grey[1:-1, 2:], grey[2:, 1:-1], grey[1:-1, :-2])
    code = sum((side > core).astype(np.uint8) << bit for bit, side in enumerate(ring))
    difference = cv2.absdiff(grey[1:, 1:], grey[:-1, :-1])
    levels = np.minimum(difference.ravel() >> 2, 9)
    return np.concatenate(
        [
            _root_shares(np.bincount(np.asarray(code).ravel(), minlength=16)),
            _root_shares(np.bincount(levels, minlength=10)),
        ]
    )
