"""Stages that sleep in place of computing, to try an arithmetic of stages on real workers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction


@dataclass(frozen=True)
class EmulatedStages:
    """Every shard has ``rows`` images; stage i sleeps for those that the one before passed on."""

    name: ClassVar[str] = "emulated stages"
    rows: int
    milliseconds: tuple[float, ...]  # an image, by stage
    keep: tuple[float, ...]  # share passed on, by stage but the last

    def start(self) -> ShardFunction:
        """Return the function that sleeps through one shard."""

        def sleep_shard(shard: int) -> pa.Table:
            started = time.time()
            for count, cost in zip(passing(self.rows, self.keep), self.milliseconds, strict=True):
                time.sleep(count * cost / 1000)
            return shard_stats(shard, self.rows, started)

        return sleep_shard


def passing(images: int, keep: Sequence[float]) -> list[int]:
    """Return how many images reach each stage: all the first, then what is passed on."""
    counts = [images]
    for share in keep:
        counts.append(round(counts[-1] * share))
    return counts
