"""How well pairs found match known copies: the DISC21 benchmark's measures, and by transform.

Papakipos et al.: Results and findings of the 2021 image similarity challenge, 2022.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

ORIGINAL = "original"


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


def micro_average_precision(
    scores: np.ndarray[Any, Any], copies: np.ndarray[Any, Any], known: int
) -> float:
    """Return micro-AP: the sum of precision times the step in recall, over all pairs by score.

    scores (p,); copies bool (p,): is the pair a known one; known: all known pairs, found or not.
    Pairs of equal score come in together.
    """
    precision, recall = _curve(scores, copies, known)
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def recall_at_precision(
    scores: np.ndarray[Any, Any], copies: np.ndarray[Any, Any], known: int, precision: float
) -> float:
    """Return the largest recall whose precision is at least ``precision``; 0 where none is."""
    precisions, recall = _curve(scores, copies, known)
    return float(recall[precisions >= precision].max(initial=0.0))


def _curve(scores: np.ndarray[Any, Any], copies: np.ndarray[Any, Any], known: int) -> Any:
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(copies[order])[last]
    return hits / (last + 1), hits / max(1, known)


def known_pairs(truth: pa.Table) -> int:
    """Return the number of pairs of images (id, scene) that share a scene."""
    counts = np.unique(truth["scene"].to_numpy(), return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def are_copies(pairs: pa.Table, truth: pa.Table) -> np.ndarray[Any, Any]:
    """Return bool (p,): do both images of each pair (a, b) come from one scene of ``truth``."""
    scenes = truth["scene"].to_numpy()
    same: np.ndarray[Any, Any] = (
        scenes[_rows(pairs, "a", truth)] == scenes[_rows(pairs, "b", truth)]
    )
    return same


def copies_by_transform(pairs: pa.Table, truth: pa.Table) -> list[CopyPairs]:
    """Return a row for each transform in ``truth`` (id, scene, transform), by name."""
    names = np.array(truth["transform"].to_pylist())
    scenes = truth["scene"].to_numpy()
    a, b = (names[_rows(pairs, column, truth)] for column in ("a", "b"))
    copies = are_copies(pairs, truth)
    with_original = np.unique(scenes[names == ORIGINAL])
    rows = []
    for name in np.unique(names[names != ORIGINAL]).tolist():
        mine = (a == name) | (b == name)
        direct = copies & (((a == name) & (b == ORIGINAL)) | ((b == name) & (a == ORIGINAL)))
        known = np.isin(scenes[names == name], with_original).sum()
        counts = (mine.sum(), (mine & copies).sum(), direct.sum(), known)
        rows.append(CopyPairs(name, *(int(count) for count in counts)))
    return rows


def _rows(pairs: pa.Table, column: str, truth: pa.Table) -> np.ndarray[Any, Any]:
    ids = truth["id"].to_numpy()
    order = np.argsort(ids)
    rows: np.ndarray[Any, Any] = order[np.searchsorted(ids, pairs[column].to_numpy(), sorter=order)]
    return rows
