"""Partitions: runs of neighbouring buckets of a grid, and the generations a collection grew by.

The grid and the number of partitions are fixed by the images there at first; every run that finds
further shards adds them as one more generation.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.arrays import Ids, Numbers
from pipeline.core.store import Store
from pipeline.index.grid import Grid

PARTITIONS, GENERATIONS = "partitions.npy", "generations.npy"


def partition_edges(buckets: int, partitions: int) -> Ids:
    """Return int64 (partitions + 1,): partition p holds the buckets edges[p] to edges[p + 1]."""
    return np.linspace(0, buckets, partitions + 1).round().astype(np.int64)


@dataclass(frozen=True)
class Partitions:
    """Runs of neighbouring buckets of a grid, each worked on alone, in one or more generations.

    Part number g x count + p is partition p of generation g.
    """

    grid: Grid
    count: int  # partitions
    generations: tuple[int, ...] = ()  # where each generation's shards end

    @classmethod
    def kept(cls, store: Store) -> "Partitions | None":
        """Return what is kept in ``store``, None where nothing is. Raises StoreError if damaged."""
        grid, count = Grid.attached(store), read_numbers(store, PARTITIONS)
        if grid is None or not count:
            return None
        return cls(grid, count[0], read_numbers(store, GENERATIONS))

    def keep(self, store: Store) -> None:
        """Keep in ``store`` what is not there yet."""
        known = Partitions.kept(store)
        if known is None:
            self.grid.attach(store)
            attach_numbers(store, PARTITIONS, (self.count,))
        if known is None or known.generations != self.generations:
            attach_numbers(store, GENERATIONS, self.generations)

    def with_shards(self, shards: int) -> "Partitions":
        """Return these partitions of ``shards``: those that are new are one generation more."""
        if self.generations and self.generations[-1] >= shards:
            return self
        return replace(self, generations=(*self.generations, shards))

    @property
    def parts(self) -> int:
        """How many parts there are: one a partition and generation."""
        return self.count * len(self.generations)

    @property
    def edges(self) -> Ids:
        """The first bucket of every partition, and the number of buckets."""
        return partition_edges(self.grid.buckets, self.count)

    def shards(self, part: int) -> range:
        """Return the embedding shards whose rows are new in ``part``."""
        generation = part // self.count
        first = self.generations[generation - 1] if generation else 0
        return range(first, self.generations[generation])

    def holding(self, buckets: Numbers) -> list[int]:
        """Return the parts that hold ``buckets``, of any shape; numbers below 0 are of none."""
        there = np.unique(buckets)
        mine = np.searchsorted(self.edges, there[there >= 0], side="right") - 1
        generations = range(len(self.generations))
        return [g * self.count + int(part) for g in generations for part in np.unique(mine)]

    def missing(self, store: Store) -> list[int]:
        """Return the numbers of the parts of which ``store`` holds no shard yet."""
        done = {entry.shard for entry in store.entries()}
        return [part for part in range(self.parts) if part not in done]

    def new_shards(self, parts: Iterable[int]) -> range:
        """Return the embedding shards from the first to the last that are new in ``parts``."""
        mine = [self.shards(part) for part in parts]
        return range(min(r.start for r in mine), max(r.stop for r in mine))


def attach_numbers(store: Store, name: str, numbers: tuple[int, ...]) -> None:
    """Keep whole ``numbers`` in ``store`` under ``name``."""
    out = io.BytesIO()
    np.save(out, np.array(numbers, np.int64), allow_pickle=False)
    store.attach(name, out.getvalue())


def read_numbers(store: Store, name: str) -> tuple[int, ...]:
    """Return what attach_numbers kept, none where nothing is. Raises StoreError if damaged."""
    data = store.attached(name)
    return tuple(np.load(io.BytesIO(data), allow_pickle=False).tolist()) if data else ()
