"""Recall of known copies: of the images of a query's own scene, how many its top k holds."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Mask
from pipeline.core.bounds import interval


@dataclass(frozen=True)
class CopyRecall:
    """``found`` of the ``known`` copies of one transform (or of all: "all") are in the top k."""

    transform: str
    k: int
    found: int
    known: int

    @property
    def recall(self) -> float:
        return self.found / self.known

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the Clopper-Pearson interval, taking copies as independent draws."""
        return interval(self.found, self.known, confidence)


def copy_recall(query_ids: Ids, found_ids: Ids, there: Mask, truth: pa.Table) -> list[CopyRecall]:
    """Return the recall of all copies, then by the copies' transform.

    query_ids int64 (q,) of images in the store; found_ids int64 (q, k) without the query itself, of
    which those count that are ``there``, bool (q, k); truth has id, scene, transform of every image
    of the queries' scenes, and whether it passes: others cannot be found. Where a scene has more
    than k copies only k count as known: more could not be found.
    """
    ids = truth["id"].to_numpy()
    scenes = truth["scene"].to_numpy()
    transforms = np.array(truth["transform"].to_pylist())
    passes = truth["passes"].to_numpy()
    scene_of = dict(zip(ids.tolist(), scenes.tolist(), strict=True))
    k = found_ids.shape[1]
    tally: dict[str, list[int]] = {"all": [0, 0]}
    for query, found, real in zip(query_ids.tolist(), found_ids, there, strict=True):
        copies = (scenes == scene_of[query]) & (ids != query) & passes
        hits = copies & np.isin(ids, found[real])
        for name in ("all", *np.unique(transforms[copies]).tolist()):
            chosen = copies if name == "all" else copies & (transforms == name)
            counts = tally.setdefault(name, [0, 0])
            counts[0] += int((hits & chosen).sum())
            counts[1] += min(k, int(chosen.sum()))
    return [CopyRecall(name, k, *counts) for name, counts in tally.items() if counts[1]]
