"""Training the grid and the codes of an index, once."""

from math import isqrt
from typing import Any, Literal

from pipeline.core.store import Store
from pipeline.index.coarse_codes import CoarseCoder, train_codes
from pipeline.index.grid import Grid
from pipeline.index.hashing import train_hash
from pipeline.index.ivf import train_ivf
from pipeline.index.layout import LAYOUT, refuse_other_layout
from pipeline.index.partitions import attach_numbers, read_numbers
from pipeline.index.vector_sample import sample_vectors

TRAINED = "trained.npy"
GridName = Literal["ivf", "hash"]
TRAINERS = {"ivf": train_ivf, "hash": train_hash}


def index_identity(embeddings: Store, **made: Any) -> dict[str, Any]:
    """Return what decides an index's bytes, beside the embeddings added to it."""
    first = embeddings.manifest()[0].checksum
    told = {"layout": LAYOUT, "embeddings": embeddings.identity, "first_shard": first}
    return told | made


def trained_grid(
    store: Store,
    embeddings: Store,
    kind: GridName,
    buckets: int | None,
    sample: int,
    seed: int,
    grid_from: Store | None = None,
) -> Grid:
    """Return the store's grid, trained and attached the first time, as the coder of its codes is.

    It depends on the embeddings that were there then, and never changes when others are added: a
    rebuild of the grown collection gives the same index if it takes this grid over (``grid_from``).
    buckets: none for the square root of the images; sample: vectors a bucket to train on.
    """
    known = Grid.attached(store)
    if known is not None:
        return known
    shards = len(embeddings.manifest())
    if grid_from is not None:
        refuse_other_layout(grid_from)
        grid, coder = Grid.required(grid_from), CoarseCoder.required(grid_from)
        if grid_from.identity["first_shard"] == store.identity["first_shard"]:
            shards = trained_shards(grid_from)
    else:
        count = buckets or max(1, isqrt(embeddings.images()))
        vectors = sample_vectors(embeddings, count * sample)
        grid, coder = TRAINERS[kind](vectors, count, seed), train_codes(vectors, seed)
    coder.attach(store)
    attach_numbers(store, TRAINED, (shards,))
    grid.attach(store)
    return grid


def trained_shards(index: Store) -> int:
    """Return how many embedding shards were there when the grid of ``index`` was trained."""
    return read_numbers(index, TRAINED)[0]
