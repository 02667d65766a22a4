"""A second look at two pictures: whether one is a changed copy of the other.

Two ways to lay one over the other are tried: as their points say, also in a mirror, and as a whole,
in eight orientations, for pictures that show too few points. What then agrees is weighed by weights
fitted to copies and to pictures that are none (``make look-weights``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log, log1p, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from pipeline.core.arrays import Bytes, Pixels
from pipeline.dedup.alignment import Affine, align
from pipeline.dedup.another_thing import another_thing
from pipeline.dedup.keypoints import Keypoints, mirrored
from pipeline.dedup.overlay import NOTHING, Agreement, agreement
from pipeline.dedup.writing import WRITTEN, written_otherwise

SHIPPED = Path(__file__).with_name("weights.yaml")
NAMES = ("points", "whole", "best")  # of Weights
SMOOTH = 0.02  # added to a share, so that its log-odds are finite
LITTLE = 0.01  # added to a share, so that its logarithm is finite
# Where all of both agrees, nothing would keep as many points of a copy from agreeing too: without
# them it is the layout alone, as of letters.
TELLING, UNDISTURBED = 25, 0.9  # points of both, share of the places
READ_FROM = 0.5  # chance of another picture below which what is written is read
HOPELESS = 0.2  # chance of no other picture below which no colours are compared
SHAPES = 256  # of pictures, whose maps stand in memory
SETTLED = 11.0  # log-odds of one way from which no other is tried


class Odds(NamedTuple):
    """Log-odds of a copy, in the shares that the weights are fitted to (``asked.FITTED``)."""

    others: float  # over another picture
    look_alikes: float  # over another thing before one background


class Chances(NamedTuple):
    """How likely two pictures are a copy or a look-alike, in the same shares; else they are two."""

    copy: float
    look_alike: float


NONE = Chances(0.0, 0.0)
Rows = tuple[tuple[float, ...], tuple[float, ...]]  # of weights, one for each of Odds


@dataclass(frozen=True)
class Weights:
    """A logistic model of three kinds: what gives the Odds of two pictures."""

    points: Rows  # of 1 and of ``terms``
    whole: Rows  # likewise, of pictures that are laid over each other as a whole
    best: Rows  # of 1 and the Odds of the best of several sights


def shipped_weights() -> Weights:
    """Return the weights that ``make look-weights`` fitted, which are shipped."""
    return weights_of(yaml.safe_load(SHIPPED.read_text()))


def weights_of(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> Weights:
    """Return the weights that weights.yaml holds as ``rows``, by name and of what the odds are."""
    named = (rows[name] for name in NAMES)
    return Weights(*((tuple(each["others"]), tuple(each["look_alikes"])) for each in named))


@dataclass(frozen=True)
class Sight:
    """One way to lay the second picture over the first, and how they then agree."""

    affine: Affine  # from pixels of the second picture to pixels of the first
    points: int  # that agree; none: laid over as a whole
    agreed: Agreement
    another: float  # share of what both show that is another thing; 1: all, or not measured


def sights(one: Keypoints, other: Keypoints, weights: Weights | None = None) -> Iterator[Sight]:
    """Yield the ways to lay ``other`` over ``one``: by points, by those in a mirror, as a whole.

    Where TELLING points agree, no other way is tried. weights: by which sights that say another
    picture, whatever the colours, are not asked for them, and pictures that both show as many
    points, of which a copy's would agree, are not laid over as a whole: all of that takes most of
    the time; none: all is tried.
    """
    many = min(len(one.points), len(other.points)) >= TELLING
    for turned in (False, True):
        there = mirrored(other) if turned else other
        aligned = align(one, there)
        if aligned is None:
            continue
        affine, points = aligned
        if turned:
            affine = affine @ _mirror(other.picture)
        yield _sight(one, other, affine, points, weights)
        if points >= TELLING:
            return
    if weights and many:
        yield Sight(whole(one.picture, other.picture, 0), 0, NOTHING, 1.0)
    else:
        way = whole(one.picture, other.picture, best_orientation(one, other))
        yield _sight(one, other, way, 0, weights)


def _sight(
    one: Keypoints, other: Keypoints, affine: Affine, points: int, weights: Weights | None
) -> Sight:
    agreed = agreement(one.grey, other.grey, affine, points >= TELLING)
    few = min(len(one.points), len(other.points)) < TELLING
    if not points and not few and agreed.places > UNDISTURBED:
        return Sight(affine, points, NOTHING, 1.0)
    sight = Sight(affine, points, agreed, 1.0)
    if weights and _is_hopeless(sight, weights):
        return sight
    return replace(sight, another=another_thing(one.colours, other.colours, affine))


def _is_hopeless(sight: Sight, weights: Weights) -> bool:
    ends = (told(replace(sight, another=share), weights) for share in (0.0, 1.0))
    return all(found.copy + found.look_alike < HOPELESS for found in ends)


def best_orientation(one: Keypoints, other: Keypoints) -> int:
    """Return the orientation, of eight, in which ``other`` as a whole is most like ``one``."""
    turned = [other.square, other.square[::-1], other.square[:, ::-1], other.square[::-1, ::-1]]
    turned += [square.T for square in turned]
    return int(np.argmax([float((one.square * square).sum()) for square in turned]))


def log_odds(sight: Sight, weights: Weights) -> Odds:
    """Return the odds that pictures seen so are copies."""
    return _weighed(weights.points if sight.points else weights.whole, terms(sight))


def _weighed(rows: Rows, terms: Sequence[float]) -> Odds:
    known = (1.0, *terms)
    return Odds(*(sum(w * t for w, t in zip(row, known, strict=True)) for row in rows))


def over_all(odds: Odds) -> float:
    """Return the log-odds of a copy over all that it may be else."""
    least, most = sorted(odds)
    return least - log1p(exp(least - most))


def terms(sight: Sight) -> tuple[float, ...]:
    """Return what is weighed: the log-odds of what agrees, the root of the agreeing points, and
    what is another thing; beside points its logarithm, as the first hundredth says most.
    """
    if not sight.points:
        return _log_odds(sight.agreed.score), sight.another
    return _log_odds(sight.agreed.places), sqrt(sight.points), log(sight.another + LITTLE)


def _log_odds(share: float) -> float:
    return log((share + SMOOTH) / (1 + SMOOTH - share))


def look(one: Keypoints, other: Keypoints, weights: Weights) -> tuple[Sight, Chances]:
    """Return the way in which the pictures agree best, and how likely that makes what they are.

    Where these are hardly anything but two pictures, it makes them less likely still: HOPELESS.
    Pages on which something else is written are sure to be none, however well all else agrees.
    """
    seen: list[tuple[float, Sight]] = []
    for sight in sights(one, other, weights):
        seen.append((over_all(log_odds(sight, weights)), sight))
        if seen[-1][0] >= SETTLED:
            break
    best = max(seen, key=lambda found: found[0])[1]
    found = told(best, weights)
    doubted = 1 - found.copy - found.look_alike < READ_FROM
    return best, NONE if doubted and _reads_otherwise(one, other, best) else found


def told(best: Sight, weights: Weights) -> Chances:
    """Return what pictures are whose best sight this is."""
    others, look_alikes = (exp(-odds) for odds in _weighed(weights.best, log_odds(best, weights)))
    whole = 1 + others + look_alikes
    return Chances(1 / whole, look_alikes / whole)


def _reads_otherwise(one: Keypoints, other: Keypoints, sight: Sight) -> bool:
    if max(one.letters, other.letters) < WRITTEN:
        return False
    here, there, affine = one.page, other.page, sight.affine
    if here is not None and there is not None:
        shares = in_shares(affine, one.picture, other.picture)
        affine = in_pixels(shares, here.grey, there.grey)
    return written_otherwise(here, there, affine)


def whole(one: Pixels, other: Pixels, number: int) -> Affine:
    """Return the map of all of ``other`` onto all of ``one``, in orientation ``number``.

    4 t + 2 x + y, as in ``perceptual_hash.oriented``: first mirrored, then rows for columns.
    """
    linear, shift = np.eye(2), np.zeros(2)
    for axis, bit in ((0, 2), (1, 1)):
        if number & bit:
            linear[axis], shift[axis] = -linear[axis], 1
    if number & 4:
        linear, shift = linear[::-1], shift[::-1]
    unit = np.column_stack([linear, shift])
    return in_pixels(unit, one, other)


def in_pixels(unit: Affine, one: Bytes, other: Bytes) -> Affine:
    """Return a map of shares of width and height as one of the pictures' pixels, by centres."""
    return _from_unit(one.shape[:2])[:2] @ _square(unit) @ _to_unit(other.shape[:2])


def in_shares(affine: Affine, one: Pixels, other: Pixels) -> Affine:
    """Return a map of the pictures' pixels as one of shares of their width and height."""
    unit = _to_unit(one.shape[:2]) @ _square(affine) @ _from_unit(other.shape[:2])
    return np.asarray(unit[:2], np.float64)


@lru_cache(SHAPES)
def _from_unit(shape: tuple[int, ...]) -> Affine:
    height, width = shape
    return np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1]], np.float64)


@lru_cache(SHAPES)
def _to_unit(shape: tuple[int, ...]) -> Affine:
    return np.asarray(np.linalg.inv(_from_unit(shape)), np.float64)


def _mirror(picture: Pixels) -> Affine:
    return np.array([[-1, 0, picture.shape[1] - 1], [0, 1, 0], [0, 0, 1]], np.float64)


def _square(affine: Affine) -> Affine:
    return np.vstack([affine, [0, 0, 1]])
