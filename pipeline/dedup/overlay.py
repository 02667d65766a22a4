"""One picture laid over another: how far they agree where both are."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.core.arrays import Mask
from pipeline.dedup.alignment import Affine
from pipeline.dedup.keypoints import Greys

WINDOW = 9  # pixels of a place
TEXTURE = 16.0  # least variance, in levels of 255, of a place that tells anything
FLOOR = 4.0  # variance that is taken for noise
ALIKE = 0.6  # correlation of a place from which it agrees
UNLIKE = 0.1  # correlation of the whole below which no place is looked at unless it is certain
LEAST = 150  # pixels that both pictures show


@dataclass(frozen=True)
class Agreement:
    """How two pictures agree where the map lays one over the other."""

    correlation: float  # of the greys of all that both show
    places: float  # share of the places with texture that agree
    textured: int  # pixels of such places
    of_one: float  # share of the first picture that the other covers
    of_other: float  # share of the other picture that lies on the first

    @property
    def score(self) -> float:
        return max(0.0, self.correlation) * self.places


NOTHING = Agreement(0.0, 0.0, 0, 0.0, 0.0)


def agreement(here: Greys, other: Greys, affine: Affine, certain: bool = False) -> Agreement:
    """Compare brightnesses (h, w) with those of ``other``, laid over it by ``affine`` (2, 3).

    certain: that it is laid so; places are looked at then where the whole is UNLIKE, too, as a dark
    picture is with a white caption.
    """
    size = (here.shape[1], here.shape[0])
    there = np.asarray(cv2.warpAffine(other, affine, size), np.float32)
    covered = cv2.warpAffine(np.full(other.shape, 255, np.uint8), affine, size)
    mask = np.asarray(cv2.compare(covered, 250, cv2.CMP_GT), np.uint8)
    area = cv2.countNonZero(mask)
    if area < LEAST:
        return NOTHING
    determinant = abs(float(np.linalg.det(affine[:, :2])))
    shares = min(1.0, area / mask.size), min(1.0, area / (determinant * other.size))
    inside = (mask > 0).astype(np.float32)
    one, two = ((grey - cv2.mean(grey, mask)[0]) * inside for grey in (here, there))
    whole = _correlation(one, two)
    if whole < UNLIKE and not certain:
        return replace(NOTHING, correlation=whole)
    local, textured = _local(one, two, inside)
    count = int(np.count_nonzero(textured))
    alike = int(np.count_nonzero(textured & (local > ALIKE)))
    places = alike / count if count >= LEAST // 4 else 0.0
    return Agreement(whole, places, count, *shares)


def _correlation(one: Greys, other: Greys) -> float:
    """Return that of two pictures (h, w) of mean 0, which are 0 where both are not."""
    lengths = float(np.vdot(one, one)) * float(np.vdot(other, other))
    return float(np.vdot(one, other)) / lengths**0.5 if lengths > 0 else 0.0


def _local(one: Greys, other: Greys, inside: Greys) -> tuple[Greys, Mask]:
    """Return the correlation of each place, of pictures as above, and which have texture."""
    share = _mean(inside)
    weight = cv2.max(share, 1e-3)  # in a quarter of NumPy's time, as below
    a, b = _mean(one) / weight, _mean(other) / weight
    aa = cv2.max(_mean(one * one) / weight - a * a, 0.0)
    bb = cv2.max(_mean(other * other) / weight - b * b, 0.0)
    ab = _mean(one * other) / weight - a * b
    local = np.asarray((ab + FLOOR) / np.sqrt((aa + FLOOR) * (bb + FLOOR)), np.float32)
    return local, (cv2.max(aa, bb) > TEXTURE) & (inside > 0) & (share > 0.6)


def _mean(values: Greys) -> Greys:
    return np.asarray(cv2.boxFilter(values, -1, (WINDOW, WINDOW), normalize=True), np.float32)
