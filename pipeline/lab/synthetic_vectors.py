"""A made embedding store of clustered unit vectors, some of them near-copies of others.

Clusters overlap in a space of fewer dimensions, as those of a network's embeddings do; apart and
round, any grid would find all neighbours in its first bucket.

No image is behind it: it stands in where the number of vectors is what matters, and every table
made from it says so.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Vectors
from pipeline.core.row_map import keep_row_maps
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import ROW_GROUP, embedding_column


@dataclass(frozen=True)
class SyntheticSettings:
    """What decides every vector."""

    rows: int
    shard_rows: int
    dimensions: int
    clusters: int
    intrinsic: int = 32  # dimensions of the space the clusters lie in
    spread: float = 0.8  # of a cluster in each of those, against 1 for its centre
    noise: float = 0.3  # length of what is added in all dimensions
    copies: float = 0.1  # share of the rows that are near-copies of a row of another shard
    blur: float = 0.25  # length of a copy's noise
    seed: int = 0

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)

    def rows_of(self, shard: int) -> int:
        """Return the rows of ``shard``; the last one may be smaller."""
        return min(self.shard_rows, self.rows - shard * self.shard_rows)


@dataclass(frozen=True)
class SyntheticPlan:
    """All a worker needs to make any shard."""

    name: ClassVar[str] = "make vectors"
    output: Path
    settings: SyntheticSettings

    def start(self) -> ShardFunction:
        """Return the function that makes one shard and tells what it cost."""
        store = Store.create(self.output, "embeddings", synthetic_identity(self.settings))

        def make_shard(shard: int) -> pa.Table:
            started = time.time()
            table = synthetic_table(self.settings, shard)
            store.write_shard(shard, table, row_group=ROW_GROUP)
            return shard_stats(shard, table.num_rows, started)

        return make_shard


def synthetic_store(
    root: Path, settings: SyntheticSettings, spread: Spread, record: RunRecord
) -> Store:
    """Make a store of synthetic vectors at ``root``; finished shards are skipped.

    The rows left to make are told to ``record``. Raises StoreError where ``root`` holds another
    store, or another job holds it.
    """
    store = Store.create(root, "embeddings", synthetic_identity(settings))
    with store.lock():
        done = {entry.shard for entry in store.entries()}
        pending = [shard for shard in range(settings.shards) if shard not in done]
        record.images = sum(settings.rows_of(shard) for shard in pending)
        for _ in spread(SyntheticPlan(root, settings), pending):
            pass
        store.finish(settings.shards)
        keep_row_maps(store)
    return store


def synthetic_identity(settings: SyntheticSettings) -> dict[str, Any]:
    """Return a made store's identity."""
    return {"model": "none: synthetic vectors"} | asdict(settings)


def synthetic_table(settings: SyntheticSettings, shard: int) -> pa.Table:
    """Return shard number ``shard`` as sluice embed would write it, with scene and transform."""
    vectors = _originals(settings, shard)
    first = shard * settings.shard_rows
    ids = np.arange(first, first + len(vectors))
    scenes, copied = ids.copy(), int(settings.copies * len(vectors))
    if copied:
        other = (shard + settings.shards // 2) % settings.shards
        models = _originals(settings, other)[:copied]
        noise = _noise([settings.seed, 2, shard], models.shape, settings.blur)
        vectors[-len(models) :] = models + noise
        scenes[-len(models) :] = other * settings.shard_rows + np.arange(len(models))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kinds = np.where(scenes == ids, "original", "planted copy")
    return pa.table(
        {
            "id": ids,
            "key": [f"synthetic-{number}" for number in ids],
            "width": pa.array(np.full(len(ids), 160), pa.int32()),
            "height": pa.array(np.full(len(ids), 120), pa.int32()),
            "embedding": embedding_column(vectors),
            "scene": scenes,
            "transform": kinds.tolist(),
        }
    )


def synthetic_queries(settings: SyntheticSettings, count: int) -> Vectors:
    """Return f32 (count, d): vectors of the same clusters that are not in the store."""
    return _drawn(settings, [settings.seed, 3], count)


def _originals(settings: SyntheticSettings, shard: int) -> Vectors:
    return _drawn(settings, [settings.seed, 1, shard], settings.rows_of(shard))


def _drawn(settings: SyntheticSettings, seed: list[int], rows: int) -> Vectors:
    rng = np.random.default_rng([settings.seed, 0])
    inner = min(settings.intrinsic, settings.dimensions)
    centres = rng.standard_normal((settings.clusters, inner), np.float32)
    frame, _ = np.linalg.qr(rng.standard_normal((settings.dimensions, inner)))
    own = np.random.default_rng([*seed, 4])
    places = centres[own.integers(settings.clusters, size=rows)]
    places += settings.spread * own.standard_normal(places.shape, np.float32)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    vectors = places @ frame.T.astype(np.float32)
    vectors += _noise(seed, vectors.shape, settings.noise)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _noise(seed: list[int], shape: tuple[int, ...], length: float) -> Vectors:
    noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return noise * np.float32(length / np.sqrt(shape[1]))
