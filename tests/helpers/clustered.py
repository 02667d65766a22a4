"""A made embedding store of clustered vectors, to be indexed, and the settings for it."""

import numpy as np
import pyarrow as pa

from jobs.settings import load_config
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column

ROWS, SHARDS, DIMENSIONS = 250, 4, 24


def synthetic(root, shards=SHARDS):
    """Clustered unit vectors, ids in no order, as an embedding store."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, DIMENSIONS))
    store = Store.create(root, "embeddings", {"model": "synthetic clusters"})
    for shard in range(SHARDS):
        vectors = centres[rng.integers(40, size=ROWS)] + rng.normal(size=(ROWS, DIMENSIONS)) / 2
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = shard * ROWS + rng.permutation(ROWS)
        table = pa.table(
            {
                "id": ids,
                "key": [f"{number:05d}.jpg" for number in ids],
                "width": pa.array(10 + ids % 7, pa.int32()),
                "height": pa.array(np.full(ROWS, 10), pa.int32()),
                "embedding": embedding_column(vectors),
            }
        )
        if shard < shards and shard not in {entry.shard for entry in store.entries()}:
            store.write_shard(shard, table)
    store.finish(shards)
    return store


def config(root, *overrides):
    small = (
        f"embed.output={root}/embeddings",
        f"index.output={root}/index",
        "index.buckets=16",
        "index.calibration_queries=800",
        "search.sample_queries=60",
        f"search.output={root}/search",
        "search.recall=0.95",
        "ray.workers=0",
    )
    return load_config(None, [*small, *overrides])
