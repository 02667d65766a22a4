"""The funnel of a cascade: how many images each stage took in and kept, and what that took."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.cascade.stages import FIRST, LAST, NETWORKS
from pipeline.core.arrays import Ids, Scores
from pipeline.core.tables import flat_column


@dataclass
class Funnel:
    """Counts over all shards so far; ``names`` are FIRST, the stages that filter, LAST."""

    names: tuple[str, ...]
    kept: Ids  # (stages + 1, q): by query; the CNN's top k not among them
    entered: Ids  # (stages + 2,): images met for any query of those asked at once
    milliseconds: Scores  # (stages + 2,), workers' time
    made: dict[str, int]  # by stage with a network: features that no earlier run had made
    silent: set[int]  # ids of images met that have no embedding

    @classmethod
    def empty(cls, stages: tuple[str, ...], queries: int) -> "Funnel":
        names = (FIRST, *stages, LAST)
        size = len(names)
        return cls(
            names,
            np.zeros((size - 1, queries), np.int64),
            np.zeros(size, np.int64),
            np.zeros(size),
            dict.fromkeys(NETWORKS, 0),
            set(),
        )

    def add(self, part: pa.Table, queries: Ids, first: bool) -> None:
        """Take in one shard's row for the queries numbered ``queries``.

        Asking a query again, deeper, takes time but passes the same images: not ``first``.
        """
        self.milliseconds += flat_column(part, "milliseconds")
        self.silent.update(flat_column(part, "silent").tolist())
        for name in self.made:
            self.made[name] += part[f"made_{name}"][0].as_py()
        if first:
            self.kept[:, queries] += flat_column(part, "kept").reshape(len(self.kept), -1)
            self.entered += flat_column(part, "entered")

    def overall(self, planned: tuple[float, ...], recalls: tuple[float, ...]) -> pa.Table:
        """Return a row a stage: what it was to meet and met, kept (mean a query), took, and left.

        planned: the share of the images each stage was to meet, of which ``measured`` is what it
        met; recalls: the share of calibration neighbours left after each stage, from the plan.
        """
        after = (1.0, *recalls, recalls[-1] if recalls else 1.0)
        kept = [*self.kept.mean(axis=1).tolist(), None]
        an_image = self.milliseconds / np.maximum(self.entered, 1)
        return pa.table(
            {
                "stage": self.names,
                "entered": self.entered,
                "planned": pa.array(planned, pa.float64()),
                "measured": self.entered / max(1, self.entered[0]),
                "kept_a_query": pa.array(kept, pa.float64()),
                "ms_an_image": an_image,
                "ms": self.milliseconds,
                "recall_after": pa.array(after, pa.float64()),
            }
        )

    def by_query(self, keys: list[str]) -> pa.Table:
        """Return (query, stage, kept), a row a query and stage."""
        stages = len(self.kept)
        return pa.table(
            {
                "query": np.repeat(np.array(keys, dtype=object), stages).tolist(),
                "stage": list(self.names[:stages]) * len(keys),
                "kept": self.kept.T.reshape(-1),
            }
        )
