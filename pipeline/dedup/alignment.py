"""How one picture lies in another: the affine map of points that both show."""

from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import Ids, Mask
from pipeline.dedup.keypoints import Keypoints, Points

RATIO = 0.85  # of the distances to the nearest and the next descriptor (Lowe, 7.1)
LEAST = 5  # points that must agree
NEAR, CLOSE = 10.0, 2.5  # pixels: by one point's own scale and angle, by all
NARROW, WIDE, SQUEEZE = 0.1, 10.0, 2.5  # scales, and their ratio, that are believed
Affine = NDArray[np.float64]  # (2, 3)


def matches(one: Keypoints, other: Keypoints) -> Ids:
    """Return the points of both that match, int64 (m, 2): nearest to each other and clearly so."""
    if min(len(one.points), len(other.points)) < LEAST:
        return np.empty((0, 2), np.int64)
    products = one.directions @ other.directions.T
    rows = np.arange(len(products))
    nearest = products.argmax(axis=1)
    best = products[rows, nearest]
    mutual = products.argmax(axis=0)[nearest] == rows
    products[rows, nearest] = -1
    clear = 1 - best < RATIO**2 * (1 - products.max(axis=1))  # halves of squared distances
    mine = np.flatnonzero(mutual & clear)
    return np.stack([mine, nearest[mine]], axis=1)


def align(one: Keypoints, other: Keypoints) -> tuple[Affine, int] | None:
    """Return the map from ``other`` onto ``one``'s, and how many points agree.

    Every match is taken for the whole map, by its points' scales and angles, and the one that most
    others agree with is refined over these. None where fewer than LEAST agree, or the map is not
    one that a copy may have.
    """
    pairs = matches(one, other)
    if len(pairs) < LEAST:
        return None
    here, there = one.points[pairs[:, 0]], other.points[pairs[:, 1]]
    agreed = _agreed(here, there)
    if agreed.sum() < LEAST:
        return None
    affine, inside = cv2.estimateAffine2D(
        there[agreed, :2], here[agreed, :2], ransacReprojThreshold=CLOSE, maxIters=500
    )
    if affine is None or inside.sum() < LEAST or not _believed(affine):
        return None
    return affine, int(inside.sum())


def _agreed(here: Points, there: Points) -> Mask:
    """Return the matches bool (m,) that agree with the one that most agree with."""
    scale = np.log(here[:, 2] / there[:, 2])
    turn = np.exp(scale + 1j * np.radians(here[:, 3] - there[:, 3]))
    a, b = here[:, 0] + 1j * here[:, 1], there[:, 0] + 1j * there[:, 1]
    # Where match i lands the second picture's corner, by every match's point: (m, m)
    corners = a[None, :] - turn[:, None] * b[None, :]
    errors = corners - np.diagonal(corners)[:, None]
    near = errors.real**2 + errors.imag**2 < NEAR**2
    agree = near & (np.abs(scale[None, :] - scale[:, None]) < 0.5)
    best: Mask = agree[agree.sum(axis=1).argmax()]
    return best


def _believed(affine: Affine) -> bool:
    a, b, c, d = affine[:, :2].ravel().tolist()
    sizes, area = a * a + b * b + c * c + d * d, a * d - b * c
    if area <= 0:
        return False
    large = sqrt((sizes + sqrt(max(sizes * sizes - 4 * area * area, 0.0))) / 2)
    small = area / large
    return small > NARROW and large < WIDE and large < SQUEEZE * small
