"""A sample of a store's vectors, to train a grid on."""

from math import ceil

import numpy as np

from pipeline.core.arrays import Vectors
from pipeline.core.errors import InputError
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
        vectors = source.read_whole(entry.shard, ["embedding"])["embedding"]
        parts.append(embedding_matrix(vectors)[np.unique(rows)])
    return np.concatenate(parts)
