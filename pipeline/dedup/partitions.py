"""How a collection is parted to be joined: its grid, its partitions and its generations.

All three are kept with the pairs: the grid and the number of partitions are fixed by the images
there at first, and every run that finds further shards adds them as one more generation.
"""

import io
from dataclasses import asdict, dataclass, replace
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.store import Store
from pipeline.dedup.identical_sets import PAIRS
from pipeline.index.grid import Grid, whole_space
from pipeline.index.ivf import train_ivf
from pipeline.index.vector_sample import sample_vectors

PARTITIONS, GENERATIONS = "partitions.npy", "generations.npy"


@dataclass(frozen=True)
class PartitionSettings:
    """What decides the partitions, beside the embeddings there at first."""

    buckets: int | None  # none: one up to ``brute_force_up_to`` images, else their square root
    brute_force_up_to: int  # images of which all pairs are compared
    assignments: int  # nearest buckets that each vector lies in
    partition_rows: int  # vectors of a partition, about
    sample: int  # vectors a bucket to train the grid on
    seed: int


def dedup_identity(
    embeddings: Store, similarity: float, settings: PartitionSettings
) -> dict[str, Any]:
    """Return what decides the pairs, beside the embeddings added."""
    return {
        "pairs": PAIRS.names,
        "embeddings": embeddings.identity,
        "first_shard": embeddings.manifest()[0].checksum,
        "similarity": similarity,
        **asdict(settings),
    }


@dataclass(frozen=True)
class Partitions:
    """Runs of neighbouring buckets of a grid, each joined alone, and what was joined together."""

    grid: Grid
    count: int  # partitions
    generations: tuple[int, ...] = ()  # where each generation's shards end

    @classmethod
    def kept(cls, store: Store) -> "Partitions | None":
        """Return what is kept in ``store``, None where nothing is. Raises StoreError if damaged."""
        grid, count = Grid.attached(store), _numbers(store, PARTITIONS)
        if grid is None or not count:
            return None
        return cls(grid, count[0], _numbers(store, GENERATIONS))

    def keep(self, store: Store) -> None:
        """Keep in ``store`` what is not there yet."""
        known = Partitions.kept(store)
        if known is None:
            self.grid.attach(store)
            _attach(store, PARTITIONS, (self.count,))
        if known is None or known.generations != self.generations:
            _attach(store, GENERATIONS, self.generations)

    def with_shards(self, shards: int) -> "Partitions":
        """Return these partitions of ``shards``: those that are new are one generation more."""
        if self.generations and self.generations[-1] >= shards:
            return self
        return replace(self, generations=(*self.generations, shards))

    @property
    def joins(self) -> int:
        """How many joins there are: one a partition and generation."""
        return self.count * len(self.generations)


def grown_partitions(
    store: Store, embeddings: Store, settings: PartitionSettings, grid_from: Path | None = None
) -> Partitions:
    """Return the partitions kept in ``store``, made and kept the first time, with all shards.

    The grid is that of the store at ``grid_from`` where one is given: the pairs of a grown
    collection are those of a rebuild that takes its grid over. Raises StoreError where it has none.
    """
    partitions = Partitions.kept(store)
    if partitions is None:
        taken = Grid.required(Store.open(grid_from)) if grid_from else None
        grid = taken or _new_grid(embeddings, settings)
        rows = sum(entry.rows for entry in embeddings.manifest()) * settings.assignments
        partitions = Partitions(grid, min(grid.buckets, ceil(rows / settings.partition_rows)))
    partitions = partitions.with_shards(len(embeddings.manifest()))
    partitions.keep(store)
    return partitions


def _new_grid(embeddings: Store, settings: PartitionSettings) -> Grid:
    images = embeddings.images()
    few = images <= settings.brute_force_up_to
    buckets = settings.buckets or (1 if few else isqrt(images))
    if buckets == 1:
        vectors = embeddings.read_whole(embeddings.manifest()[0].shard, ["embedding"])
        return whole_space(vectors["embedding"].type.list_size)
    return train_ivf(sample_vectors(embeddings, buckets * settings.sample), buckets, settings.seed)


def _attach(store: Store, name: str, numbers: tuple[int, ...]) -> None:
    out = io.BytesIO()
    np.save(out, np.array(numbers, np.int64), allow_pickle=False)
    store.attach(name, out.getvalue())


def _numbers(store: Store, name: str) -> tuple[int, ...]:
    data = store.attached(name)
    return tuple(np.load(io.BytesIO(data), allow_pickle=False).tolist()) if data else ()
