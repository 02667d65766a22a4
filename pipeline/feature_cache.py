"""Features of images made on demand and kept: what is there is never made twice.

A shard's features lie in segments, one for each time that some were missing. A segment is written
under a temporary name and renamed, so a crash leaves it whole or not there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.embedding_column import embedding_column, embedding_matrix
from pipeline.errors import StoreError
from pipeline.store import parquet_bytes, read_parquet, write_atomically

Make = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


class FeatureCache:
    """The features called ``name`` below ``root``: an id and f32 (d,) a row, shard by shard."""

    def __init__(self, root: Path, name: str, dimensions: int) -> None:
        self.folder = root / name
        self.dimensions = dimensions

    def read(self, shard: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return ids int64 (n,) and features f32 (n, d). Raises StoreError for a damaged file."""
        remedy = "delete it: what it held is made again when it is needed"
        tables = [read_parquet(path, remedy) for path in self._segments(shard)]
        if not tables:
            return np.empty(0, np.int64), np.empty((0, self.dimensions), np.float32)
        table = pa.concat_tables(tables)
        return table["id"].to_numpy(), embedding_matrix(table["feature"])

    def get(
        self, shard: int, ids: np.ndarray[Any, Any], make: Make
    ) -> tuple[np.ndarray[Any, Any], int]:
        """Return f32 (n, d) features of ``ids``, and how many ``make`` had to make and were kept.

        make: int64 (m,), ascending, -> f32 (m, d).
        """
        known, features = self.read(shard)
        missing = np.setdiff1d(ids, known)
        if len(missing):
            made = make(missing)
            self.add(shard, missing, made)
            known, features = np.concatenate([known, missing]), np.concatenate([features, made])
        return rows_of(ids, known, features), len(missing)

    def add(self, shard: int, ids: np.ndarray[Any, Any], features: np.ndarray[Any, Any]) -> None:
        """Keep f32 (n, d) ``features`` of ``ids``; one process at a time may add to a shard."""
        table = pa.table({"id": ids, "feature": embedding_column(features)})
        number = len(self._segments(shard))
        write_atomically(
            self.folder / f"{shard:06d}" / f"{number:06d}.parquet", parquet_bytes(table)
        )

    def _segments(self, shard: int) -> list[Path]:
        return sorted((self.folder / f"{shard:06d}").glob("[0-9]*.parquet"))


def rows_of(
    ids: np.ndarray[Any, Any], known: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the rows of ``values`` (n, d), known by ``known`` (n,), in the order of ``ids``.

    Raises StoreError as ``places`` does.
    """
    found: np.ndarray[Any, Any] = values[places(ids, known)]
    return found


def places(ids: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return int64 (m,): where each of ``ids`` (m,) stands in ``known`` (n,).

    Raises StoreError where one does not: what is read beside each other is of different times.
    """
    missing = np.setdiff1d(ids, known)
    if len(missing):
        raise StoreError(
            f"image {missing[0]} and {len(missing) - 1} more are in one store, not in the other; "
            "run sluice sign and sluice embed again"
        )
    order = np.argsort(known)
    found: np.ndarray[Any, Any] = order[np.searchsorted(known, ids, sorter=order)]
    return found
