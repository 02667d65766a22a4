"""Parquet files with a column of images' bytes, cut into shards between their row groups."""

from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.ids import stable_id
from pipeline.images.kinds.kind import SourceKind, Span, Unit

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Ids


def _units(data: bytes, path: str) -> list[Span]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not Parquet ({error}); remove it or write it anew") from error
    groups = range(metadata.num_row_groups)
    return [Span(group, group + 1, metadata.row_group(group).num_rows) for group in groups]


def _rows(fs: Any, root: str, units: list[Unit]) -> "pa.Table":
    import pyarrow as pa

    return pa.concat_tables([_unit_rows(fs, root, unit) for unit in units])


def _unit_rows(fs: Any, root: str, unit: Unit) -> "pa.Table":
    """Return (id, key, bytes, the file's own columns); ids are its own where they are integers."""
    import pyarrow as pa

    table, before = _read(fs, f"{root}/{unit['path']}", unit)
    keys = [f"{unit['path']}#{before + row}" for row in range(table.num_rows)]
    if "id" in table.column_names and pa.types.is_integer(table.schema.field("id").type):
        ids = table["id"].cast(pa.int64())
    else:
        ids = pa.chunked_array([[stable_id(key) for key in keys]], pa.int64())
    own = [n for n in table.column_names if n not in ("id", "key", "bytes", "width", "height")]
    columns = {"id": ids, "key": keys, "bytes": table["bytes"].cast(pa.binary())}
    return pa.table(columns | {name: table[name] for name in own})


def _read(fs: Any, path: str, unit: Unit) -> tuple["pa.Table", int]:
    """Return the rows of a unit, and how many of its file come before them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fs.open(path) as file:
            # Files that `sluice` wrote carry a CRC a page; where there is none nothing is checked.
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            before = sum(parquet.metadata.row_group(g).num_rows for g in range(unit["start"]))
            table = parquet.read_row_groups(range(unit["start"], unit["stop"]))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew") from error
    if "bytes" not in table.column_names:
        raise InputError(f"{path} has no column named bytes; it has {table.column_names}")
    return table, before


def _ids(fs: Any, path: str) -> "Ids | None":
    import pyarrow.parquet as pq

    with fs.open(path) as file:
        parquet = pq.ParquetFile(file)
        if "id" not in parquet.schema_arrow.names:
            return None
        ids: Ids = parquet.read(["id"])["id"].to_numpy()
        return ids


PARQUET = SourceKind(
    suffixes=frozenset({".parquet"}),
    units=_units,
    rows=_rows,
    file_of=lambda key: key.rpartition("#")[0],
    ids=_ids,
)
