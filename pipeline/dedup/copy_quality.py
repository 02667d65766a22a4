"""How well pairs found match known copies: the DISC21 benchmark's measures, and by transform.

Pairs come as pairs of identical sets: every figure counts the pairs of images they stand for.

Papakipos et al.: Results and findings of the 2021 image similarity challenge, 2022.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Mask, Scores
from pipeline.dedup.identical_sets import SetPairs, pairs_between

ORIGINAL = "original"
# Scenes of one set looked up in another's at once.
LOOKED_UP = 2**20


@dataclass(frozen=True)
class CopyPairs:
    """Pairs with an image of one transform: how many are copies, how many copies are known."""

    transform: str
    pairs: int  # found, either image made so
    copies: int  # of them, of one scene
    found: int  # copies found, between an original and its image made so
    known: int

    @property
    def precision(self) -> float:
        return self.copies / self.pairs if self.pairs else float("nan")

    @property
    def recall(self) -> float:
        return self.found / self.known if self.known else float("nan")


@dataclass(frozen=True)
class CopyQuality:
    """How well pairs tell the known copies from others, counted over pairs of images."""

    known: int
    pairs: int  # found
    copies: int  # of them
    micro_ap: float
    recall_at_90: float  # percent of precision

    @property
    def precision(self) -> float:
        return self.copies / self.pairs if self.pairs else float("nan")

    def measures(self) -> list[tuple[str, int | float]]:
        """Return what the DISC21 benchmark tells, by name."""
        return [
            ("known pairs", self.known),
            ("pairs found", self.pairs),
            ("micro-AP, of the pairs above the similarity", self.micro_ap),
            ("recall at precision 0.9", self.recall_at_90),
        ]


def copy_quality(pairs: SetPairs, truth: pa.Table) -> CopyQuality:
    """Return how well ``pairs`` match the images of one scene in ``truth`` (id, scene)."""
    copies = shared_scenes(pairs, truth).copies(np.ones(len(pairs.ids), np.bool_))
    known, counts = known_pairs(truth), pairs.counts
    return CopyQuality(
        known,
        int(counts.sum()),
        int(copies.sum()),
        micro_average_precision(pairs.scores, copies, counts, known),
        recall_at_precision(pairs.scores, copies, counts, known, 0.9),
    )


def micro_average_precision(
    scores: Scores,
    copies: Ids,
    pairs: Ids,
    known: int,
) -> float:
    """Return micro-AP: the sum of precision times the step in recall, over all pairs by score.

    scores float64 (p,); pairs int64 (p,): how many pairs have that score together; copies int64
    (p,): how many of them are known; known: all known pairs, found or not. Pairs of equal score
    come in together.
    """
    precision, recall = _curve(scores, copies, pairs, known)
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def recall_at_precision(
    scores: Scores,
    copies: Ids,
    pairs: Ids,
    known: int,
    precision: float,
) -> float:
    """Return the largest recall whose precision is at least ``precision``; 0 where none is."""
    precisions, recall = _curve(scores, copies, pairs, known)
    return float(recall[precisions >= precision].max(initial=0.0))


def _curve(
    scores: Scores,
    copies: Ids,
    pairs: Ids,
    known: int,
) -> tuple[Scores, Scores]:
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(copies[order])[last]
    return hits / np.cumsum(pairs[order])[last], hits / max(1, known)


def known_pairs(truth: pa.Table) -> int:
    """Return the number of pairs of images (id, scene) that share a scene."""
    counts = np.unique(truth["scene"].to_numpy(), return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def copies_by_transform(pairs: SetPairs, truth: pa.Table) -> list[CopyPairs]:
    """Return a row for each transform in ``truth`` (id, scene, transform), by name."""
    names = np.array(truth["transform"].to_pylist())
    scenes = truth["scene"].to_numpy()
    counts, shared = pairs.counts, shared_scenes(pairs, truth)
    everything = shared.copies(np.ones(len(pairs.ids), np.bool_))
    kinds = names[_rows(pairs.ids, truth)]
    with_original = np.unique(scenes[names == ORIGINAL])
    rows = []
    for name in np.unique(names[names != ORIGINAL]).tolist():
        others = np.bincount(pairs.set_of, kinds != name, len(pairs.sizes)).astype(np.int64)
        mine = counts - pairs_between(others, pairs.one, pairs.other)
        copies = everything - shared.copies(kinds != name)
        found = shared.copies((kinds == name) | (kinds == ORIGINAL))
        found -= shared.copies(kinds == name) + shared.copies(kinds == ORIGINAL)
        known = np.isin(scenes[names == name], with_original).sum()
        totals = (mine.sum(), copies.sum(), found.sum(), known)
        rows.append(CopyPairs(name, *(int(total) for total in totals)))
    return rows


@dataclass(frozen=True)
class SharedScenes:
    """Where two paired sets hold images of one scene. A part is a set's images of one scene."""

    part: Ids  # (n,): of each image of the pairs
    row: Ids  # (s,): the pair of sets, ascending
    one: Ids  # (s,): parts of one scene
    other: Ids  # (s,)
    pairs: int

    def copies(self, images: Mask) -> Ids:
        """Return int64 (pairs,): the pairs of one scene among the images chosen, bool (n,)."""
        sizes = np.bincount(self.part, images).astype(np.int64)
        found = np.zeros(self.pairs, np.int64)
        np.add.at(found, self.row, pairs_between(sizes, self.one, self.other))
        return found


def shared_scenes(pairs: SetPairs, truth: pa.Table) -> SharedScenes:
    """Return the scenes that paired sets share, by ``truth`` (id, scene).

    The scenes of the set that has fewer are looked up in the other's, LOOKED_UP at a time.
    """
    _, scene = np.unique(truth["scene"].to_numpy()[_rows(pairs.ids, truth)], return_inverse=True)
    most = int(scene.max(initial=0)) + 1
    keys, part = np.unique(pairs.set_of * most + scene, return_inverse=True)
    starts = np.searchsorted(keys, np.arange(len(pairs.sizes) + 1) * most)
    widths = np.diff(starts)
    swap = widths[pairs.one] > widths[pairs.other]
    few, many = np.where(swap, (pairs.other, pairs.one), (pairs.one, pairs.other))
    ends = np.cumsum(widths[few])
    found = [np.empty((3, 0), np.int64)]
    for first in range(0, int(ends[-1]) if len(ends) else 0, LOOKED_UP):
        asked = np.arange(first, min(first + LOOKED_UP, ends[-1]))
        row = np.searchsorted(ends, asked, side="right")
        one = starts[few[row]] + asked - (ends - widths[few])[row]
        wanted = many[row] * most + keys[one] % most
        other = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found.append(np.stack([row, one, other])[:, keys[other] == wanted])
    row, one, other = np.concatenate(found, axis=1)
    return SharedScenes(part, row, one, other, len(few))


def _rows(ids: Ids, truth: pa.Table) -> Ids:
    known = truth["id"].to_numpy()
    order = np.argsort(known)
    rows: Ids = order[np.searchsorted(known, ids, sorter=order)]
    return rows
