"""A store of embeddings as what a notebook or a pipeline takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, unified


@dataclass(frozen=True)
class Embeddings:
    """A finished store of embeddings: id, key, what is known of each image, embedding f32 (d,)."""

    root: Path

    def __len__(self) -> int:
        return self._store().images()

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows, or these columns of them, in memory."""
        return unified(list(self.tables(columns)))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows shard by shard."""
        store = self._store()
        wanted = None if columns is None else list(columns)
        for entry in store.manifest():
            yield store.read(entry.shard, wanted)

    def pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return all rows as a pandas DataFrame, an embedding an array."""
        return self.arrow(columns).to_pandas()

    def numpy(self, folder: str | Path) -> tuple[Ids, Vectors]:
        """Write ids.npy and vectors.npy to ``folder``; return both as memory maps.

        int64 (n,) and f32 (n, d), in the store's order; one shard at a time is in memory.
        """
        folder, count = Path(folder), len(self)
        folder.mkdir(parents=True, exist_ok=True)
        width = self._store().schema().field("embedding").type.list_size
        opened = np.lib.format.open_memmap
        ids = opened(folder / "ids.npy", "w+", np.int64, (count,))
        vectors = opened(folder / "vectors.npy", "w+", np.float32, (count, width))
        row = 0
        for table in self.tables(["id", "embedding"]):
            ids[row : row + table.num_rows] = table["id"].to_numpy()
            vectors[row : row + table.num_rows] = embedding_matrix(table["embedding"])
            row += table.num_rows
        ids.flush()
        vectors.flush()
        return ids, vectors

    def ray(self, columns: Sequence[str] | None = None) -> Any:
        """Return a Ray Dataset, a block a shard, which Ray's workers read."""
        from cluster.dataset import store_dataset

        return store_dataset(self.root, "embeddings", columns)

    def _store(self) -> Store:
        return Store.open(self.root, "embeddings")


def read_store(url: str | Path) -> Embeddings:
    """Return the finished store of embeddings at ``url``.

    Raises InputError where there is none or it is not finished, StoreError where it is damaged.
    """
    found = Embeddings(Path(url).expanduser().resolve())
    len(found)
    return found
