"""An embedder that sleeps instead of computing, so that one machine can stand for many.

It shows what the framework costs with any number of workers; it says nothing of a real model.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.shard_searcher import part_columns


def made_up_part(shard: int, queries: int, depth: int, seed: int = 0) -> ShardTopK:
    """Return a part as a shard's search gives it, of random scores: the same for the same shard.

    Scores descend in each row, ids int64 (queries, depth) are all distinct over all shards.
    """
    rng = np.random.default_rng([seed, shard])
    scores = np.sort(rng.random((queries, depth)), axis=1)[:, ::-1].copy()
    ids = np.arange(queries * depth, dtype=np.int64).reshape(queries, depth)
    ids += shard * queries * depth
    return ShardTopK(shard, ids, scores, scores[:, -1].copy(), scores[:, 0].copy())


@dataclass(frozen=True)
class EmulatedPlan:
    """All a worker needs to pretend to embed and search any shard of ``images`` images."""

    name: ClassVar[str] = "emulated"
    images: int
    shard_images: int
    seconds_an_image: float
    queries: int
    depth: int

    @property
    def shards(self) -> list[int]:
        return list(range(-(-self.images // self.shard_images)))

    def rows(self, shard: int) -> int:
        """Return the images of ``shard``; the last one may be smaller."""
        return min(self.shard_images, self.images - shard * self.shard_images)

    def start(self) -> ShardFunction:
        """Return the function that sleeps through one shard and makes up its answer."""
        began = time.time()

        def sleep_through(shard: int) -> pa.Table:
            started = time.time()
            for _ in range(self.rows(shard)):
                time.sleep(self.seconds_an_image)
            part = made_up_part(shard, self.queries, self.depth)
            return shard_stats(
                shard,
                self.rows(shard),
                started,
                actor_started=began,
                **part_columns(part),
            )

        return sleep_through
