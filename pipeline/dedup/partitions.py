"""How a collection is parted to be joined; its partitions are kept with the pairs."""

from dataclasses import asdict, dataclass
from math import ceil, isqrt
from typing import Any

from pipeline.core.folder import Place
from pipeline.core.store import Store
from pipeline.dedup.identical_sets import PAIRS
from pipeline.index.grid import Grid, whole_space
from pipeline.index.ivf import train_ivf
from pipeline.index.partitions import Partitions
from pipeline.index.vector_sample import sample_vectors


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
    embeddings: Store,
    similarity: float,
    settings: PartitionSettings,
    doubtful: bool,
    against: bool = False,
    nearest: int = 0,
) -> dict[str, Any]:
    """Return what decides the pairs, beside the embeddings added.

    nearest: others that each image is paired with, however far, for a second look.
    """
    return {
        "pairs": PAIRS.names,
        "embeddings": embeddings.identity,
        "first_shard": embeddings.manifest()[0].checksum,
        "similarity": similarity,
        "doubtful": doubtful,
        "against": against,
        "nearest": nearest,
        **asdict(settings),
    }


def grown_partitions(
    store: Store, embeddings: Store, settings: PartitionSettings, grid_from: Place | None = None
) -> Partitions:
    """Return the partitions kept in ``store``, made and kept the first time, with all shards.

    The grid is that of the store at ``grid_from`` where one is given: the pairs of a grown
    collection are those of a rebuild that takes its grid over. Raises StoreError where it has none.
    """
    partitions = Partitions.kept(store)
    if partitions is None:
        taken = Grid.required(Store.open(grid_from)) if grid_from else None
        grid = taken or _new_grid(embeddings, settings)
        rows = embeddings.rows() * settings.assignments
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
