"""A made embedding store of scenes of near-duplicates, and the settings for it."""

import numpy as np
import pyarrow as pa

from jobs.settings import load_config
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column

ROWS, SHARDS, DIMENSIONS = 200, 4, 16


def synthetic(root, shards=SHARDS):
    """Scenes of near-duplicates scattered over the shards."""
    rng = np.random.default_rng(7)
    total = ROWS * SHARDS
    scenes = rng.permutation(total) // 4
    centres = rng.normal(size=(total // 4, DIMENSIONS))
    vectors = centres[scenes] + rng.normal(size=(total, DIMENSIONS)) * 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kinds = np.array(["original", "crop", "flip", "scale"])
    store = Store.create(root, "embeddings", {"model": "synthetic scenes"})
    there = {entry.shard for entry in store.entries()}
    for shard in set(range(shards)) - there:
        ids = np.arange(shard * ROWS, (shard + 1) * ROWS)
        table = {
            "id": ids,
            "key": [f"{number}.jpg" for number in ids],
            "width": pa.array(10 + ids % 5, pa.int32()),
            "height": pa.array(np.full(ROWS, 10), pa.int32()),
            "embedding": embedding_column(vectors[ids]),
            "scene": scenes[ids],
            "transform": kinds[ids % 4].tolist(),
        }
        store.write_shard(shard, pa.table(table))
    store.finish(shards)
    return vectors.astype(np.float32).astype(np.float64)


def config(root, *overrides):
    small = (
        f"embed.output={root}/embeddings",
        f"dedup.output={root}/dedup",
        "dedup.buckets=20",
        "dedup.partition_rows=300",
        "dedup.recall_sample=300",
        "dedup.similarity=0.85",
        "ray.workers=0",
    )
    return load_config(None, [*small, *overrides])
