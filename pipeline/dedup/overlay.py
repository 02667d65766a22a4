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
UNLIKE = 0.1  # correlation of the whole below which no place is looked at
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


def agreement(here: Greys, other: Greys, affine: Affine) -> Agreement:
    """Compare brightnesses (h, w) with those of ``other``, laid over it by ``affine`` (2, 3)."""
    size = (here.shape[1], here.shape[0])
    there = np.asarray(cv2.warpAffine(other, affine, size), np.float32)
    mask = cv2.warpAffine(np.full(other.shape, 255, np.uint8), affine, size) > 250
    area = int(mask.sum())
    if area < LEAST:
        return NOTHING
    determinant = abs(float(np.linalg.det(affine[:, :2])))
    shares = min(1.0, area / mask.size), min(1.0, area / (determinant * other.size))
    whole = _correlation(here[mask], there[mask])
    if whole < UNLIKE:
        return replace(NOTHING, correlation=whole)
    local, textured = _local(here, there, mask)
    count = int(textured.sum())
    places = float((local[textured] > ALIKE).mean()) if count >= LEAST // 4 else 0.0
    return Agreement(whole, places, count, *shares)


def _correlation(one: Greys, other: Greys) -> float:
    one, other = one - one.mean(), other - other.mean()
    lengths = float((one * one).sum() * (other * other).sum())
    return float((one * other).sum() / lengths**0.5) if lengths > 0 else 0.0


def _local(here: Greys, there: Greys, mask: Mask) -> tuple[Greys, Mask]:
    inside = mask.astype(np.float32)
    share = _mean(inside)
    weight = np.maximum(share, np.float32(1e-3))
    a, b = _mean(here * inside) / weight, _mean(there * inside) / weight
    aa = np.maximum(_mean(here * here * inside) / weight - a * a, 0)
    bb = np.maximum(_mean(there * there * inside) / weight - b * b, 0)
    ab = _mean(here * there * inside) / weight - a * b
    local = np.asarray((ab + FLOOR) / np.sqrt((aa + FLOOR) * (bb + FLOOR)), np.float32)
    return local, (np.maximum(aa, bb) > TEXTURE) & mask & (share > 0.6)


def _mean(values: Greys) -> Greys:
    return np.asarray(cv2.boxFilter(values, -1, (WINDOW, WINDOW), normalize=True), np.float32)
