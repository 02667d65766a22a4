"""Tombstones: the ids of stored images that have left their source."""

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids
from pipeline.core.attachments import Attachments
from pipeline.core.tables import parquet_bytes, table_of

TOMBSTONES = "tombstones.parquet"


def read_tombstones(kept: Attachments) -> Ids:
    """Return the ids (n,) in ascending order. Raises StoreError where they are damaged."""
    data = kept.read(TOMBSTONES)
    if data is None:
        return np.empty(0, np.int64)
    return np.sort(table_of(data)["id"].to_numpy())


def keep_tombstones(kept: Attachments, ids: list[int]) -> None:
    """Make ``ids`` the tombstones, in place of those before."""
    table = pa.table({"id": pa.array(sorted(ids), pa.int64())})
    kept.keep(TOMBSTONES, parquet_bytes(table))


def without_rows(table: pa.Table, buried: Ids) -> pa.Table:
    """Return ``table`` without the rows whose ``id`` is among ``buried``."""
    return table.filter(pa.array(~np.isin(table["id"].to_numpy(), buried)))
