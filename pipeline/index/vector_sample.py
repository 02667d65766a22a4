"""A sample of a store's vectors, to train a grid on."""

from math import ceil

import numpy as np

from pipeline.core.arrays import Vectors
from pipeline.core.errors import InputError, StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix


def sample_vectors(source: Store, count: int) -> Vectors:
    """Return about ``count`` vectors f32 (n, d), spread evenly over the rows of every shard.

    Raises InputError where the store holds no image.
    """
    entries = [entry for entry in source.manifest() if entry.rows]
    total = sum(entry.rows for entry in entries)
    if not total:
        raise InputError(f"{source.root} holds no embeddings; run sluice embed first")
    parts = []
    for entry in entries:
        some = ceil(min(count, total) * entry.rows / total)
        rows = np.linspace(0, entry.rows - 1, some).round().astype(np.int64)
        column = source.read_whole(entry.shard, ["embedding"])["embedding"]
        vectors = embedding_matrix(column)[np.unique(rows)]
        refuse_no_numbers(source, entry.shard, vectors)
        parts.append(vectors)
    return np.concatenate(parts)


def refuse_no_numbers(source: Store, shard: int, vectors: Vectors) -> None:
    """Raise StoreError where one of f32 (n, d) ``vectors`` of ``shard`` is not finite."""
    wrong = int((~np.isfinite(vectors.sum(axis=1))).sum())
    if wrong:
        path = source.shards.path(shard)
        raise StoreError(
            f"{path} holds {wrong} vectors that are no numbers (NaN or infinite); delete "
            f"{source.shards.entry_path(shard)} and run {made_by(source.kind)} again"
        )
