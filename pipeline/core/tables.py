"""Arrow tables as bytes, and columns of vectors as arrays."""

import json
import os
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import AnyArray, Ids, Vectors
from pipeline.core.errors import InputError, StoreError
from pipeline.core.folder import Place
from pipeline.core.objects import Ranges

ROW_GROUP = 64  # embeddings, of which one is read with no more than so many others


def flat_column(table: pa.Table, name: str) -> AnyArray:
    """Return the values of all rows' lists in column ``name``, one after the other."""
    values: AnyArray = _in_one(table[name]).flatten().to_numpy()
    return values


def _in_one(column: pa.ChunkedArray) -> pa.Array:
    # Combining copies even where there is one chunk.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def rows_of(ids: Ids, known: Ids, values: AnyArray) -> AnyArray:
    """Return the rows of ``values`` (n, d), known by ``known`` (n,), in the order of ``ids``.

    Raises StoreError as ``places`` does.
    """
    found: AnyArray = values[places(ids, known)]
    return found


def places(ids: Ids, known: Ids) -> Ids:
    """Return (m,): where each of ``ids`` (m,) stands in ``known`` (n,).

    Raises StoreError where one does not: what is read beside each other is of different times.
    """
    missing = np.setdiff1d(ids, known)
    if len(missing):
        raise StoreError(
            f"image {missing[0]} and {len(missing) - 1} more are in one store, not in the other; "
            "run sluice sign and sluice embed again"
        )
    order = np.argsort(known)
    found: Ids = order[np.searchsorted(known, ids, sorter=order)]
    return found


def embedding_column(vectors: Vectors) -> pa.FixedSizeListArray:
    """Return (n, d) as an Arrow column of d floats a row."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def embedding_matrix(column: pa.ChunkedArray) -> Vectors:
    """Return an embedding column as (n, d)."""
    array = _in_one(column)
    flat: Vectors = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), column.type.list_size)


def parquet_bytes(table: pa.Table, row_group: int | None = None) -> bytes:
    """Serialise ``table`` to Parquet; the same table gives the same bytes.

    Every page carries its CRC: embeddings do not compress, so nothing else would tell of a changed
    byte among them. row_group: the rows of a row group, which can be read alone.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks(),
        sink,
        row_group_size=row_group,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def csv_bytes(table: pa.Table) -> bytes:
    """Return ``table`` as CSV with a header."""
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return bytes(sink.getvalue())


def json_bytes(table: pa.Table) -> bytes:
    """Return ``table`` as JSON, an object a row."""
    return json.dumps(table.to_pylist(), ensure_ascii=False, indent=1).encode()


TABLE_FILES = {".parquet": parquet_bytes, ".csv": csv_bytes, ".json": json_bytes}


def read_parquet(
    path: Place | Ranges,
    remedy: str,
    columns: list[str] | None = None,
    filters: list[tuple[str, str, Any]] | None = None,
) -> pa.Table:
    """Read a file that parquet_bytes made, checking the CRC of every page it reads.

    ``filters`` are pyarrow's: row groups that cannot hold such a row stay on disk. Raises
    StoreError, ending with ``remedy``, where the file is missing or damaged.
    """
    try:
        if filters is None:  # the reader of filters takes a quarter of a second to import
            far = isinstance(path, Ranges)  # whose ranges are coalesced
            with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=far) as file:
                table = file.read(columns)
            return table if columns is None else table.select(columns)
        return pq.read_table(
            path,
            columns=columns,
            filters=filters,
            partitioning=None,
            page_checksum_verification=True,
        )
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: text that is not UTF-8
        first = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be read ({first}); {remedy}") from error


def read_parquet_rows(path: Place | Ranges, remedy: str, columns: list[str], rows: Ids) -> pa.Table:
    """Read ``rows`` int (n,), ascending, of which other row groups than theirs stay on disk.

    Of ``columns`` those that the file has, in its order. Checks and raises as ``read_parquet``
    does, and StoreError where the file has no such row.
    """
    try:
        far = isinstance(path, Ranges)
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=far) as file:
            facts = file.metadata
            sizes = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
            ends = np.cumsum(sizes, dtype=np.int64)
            groups, which = np.unique(np.searchsorted(ends, rows, "right"), return_inverse=True)
            table = file.read_row_groups(groups.tolist(), columns)
        before = np.cumsum([0, *np.array(sizes)[groups]])[which]
        places = before + rows - (ends - sizes)[groups][which]
        return table.take(pa.array(places))
    except (OSError, ValueError, IndexError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be read ({first}); {remedy}") from error


def table_of(data: bytes) -> pa.Table:
    """Return the table that parquet_bytes made bytes of."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        return file.read()


def parquet_footer(file: BinaryIO | Ranges) -> bytes:
    """Return a Parquet file's footer: its schema and where its pages are."""
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, os.SEEK_END)
    return file.read()


def ipc_bytes(table: pa.Table) -> bytes:
    """Return ``table`` as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def ipc_table(data: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream."""
    return pa.ipc.open_stream(data).read_all()


def unified(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of tables in one; a column that some lack is null there, types are widened.

    Raises InputError where a column is of kinds that no one type holds.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"files of one source do not go together ({reason})") from error
