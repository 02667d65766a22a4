"""Parquet files with a column of images' bytes, cut into shards between rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.images.kinds.kind import Opened, SourceKind, Span, Unit
from pipeline.images.kinds.rows import KEYS, brings_ids, named_rows, signed_ids

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.core.arrays import Ids


def _spans(source: Opened, path: str, shard_rows: int, shard_bytes: int) -> list[Span]:
    """Return the row groups of a file, a large one in parts; only its footer is read."""
    with source.fs.open(path) as file:
        parquet = opened(file, path)
        image_column(parquet.schema_arrow, path, source.column)
        return row_spans(parquet, shard_rows, shard_bytes)


def row_spans(parquet: "pq.ParquetFile", shard_rows: int, shard_bytes: int) -> list[Span]:
    """Return the spans of at most so many rows and bytes, or one row, within the row groups."""
    spans, first, metadata = [], 0, parquet.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows, size = group.num_rows, group.total_byte_size
        step = max(1, min(shard_rows, shard_bytes * rows // max(1, size)))
        for start in range(first, first + rows, step):
            stop = min(start + step, first + rows)
            spans.append(Span(start, stop, size * (stop - start) // rows))
        first += rows
    return spans


def opened(file: Any, path: str) -> "pq.ParquetFile":
    """Open a Parquet file. Raises InputError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Files that `sluice` wrote carry a CRC a page; where there is none nothing is checked.
        return pq.ParquetFile(file, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not Parquet ({reason}); remove it or write it anew") from error


def image_column(schema: "pa.Schema", path: str, named: str | None = None) -> str:
    """Return the column of the images: ``named``, else ``bytes``, else what can be no other.

    That is a column of binary, or a struct with ``bytes`` in it as HuggingFace writes it. Raises
    InputError where there is none, or several.
    """
    names: list[str] = [name for name in schema.names if _holds_images(schema.field(name).type)]
    wanted = named or ("bytes" if "bytes" in names else None)
    if wanted in names:
        return str(wanted)
    if named is None and len(names) == 1:
        return names[0]
    if named is not None:
        there = "no column" if named not in schema.names else "no bytes of images in its column"
        raise InputError(f"{path} has {there} {named}; mend source.image_column{_or_path(names)}")
    said = f"{len(names)} columns that may be images ({', '.join(names)})" if names else "none"
    raise InputError(
        f"{path} has no column named bytes and {said} among {schema.names}; name it with "
        f"source.image_column{_or_path(names)}"
    )


def _or_path(names: list[str]) -> str:
    return "" if names else ", or a column of paths or URLs with source.path_column"


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return "bytes" in names and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _batches(source: Opened, units: list[Unit], rows: int) -> Iterator["pa.Table"]:
    for table, unit, first in unit_rows(source, units, rows):
        column = image_column(table.schema, unit["path"], source.column)
        yield _images(table, column, unit, first)


def unit_rows(
    source: Opened, units: list[Unit], rows: int
) -> Iterator[tuple["pa.Table", Unit, int]]:
    """Yield up to ``rows`` rows at once of the units, each with its unit and first row's number.

    Raises InputError where a file cannot be read.
    """
    import pyarrow as pa

    for unit in units:
        path = source.at(unit["path"])
        try:
            with source.fs.open(path) as file:
                for table, first in _unit_batches(opened(file, path), unit, rows):
                    yield table, unit, first
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}); write it anew") from error


def _unit_batches(
    parquet: "pq.ParquetFile", unit: Unit, rows: int
) -> Iterator[tuple["pa.Table", int]]:
    """Yield the rows of a unit, as many at once as ``rows``, from the row groups they lie in."""
    import pyarrow as pa

    counts = [parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups)]
    ends = [sum(counts[: g + 1]) for g in range(len(counts))]
    groups = [
        g for g, end in enumerate(ends) if end > unit["start"] and end - counts[g] < unit["stop"]
    ]
    row = ends[groups[0]] - counts[groups[0]] if groups else 0
    for batch in parquet.iter_batches(batch_size=rows, row_groups=groups, use_threads=False):
        first, stop = max(row, unit["start"]), min(row + batch.num_rows, unit["stop"])
        if first < stop:
            some = pa.Table.from_batches([batch.slice(first - row, stop - first)])
            yield some, first
        row += batch.num_rows


def _images(table: "pa.Table", column: str, unit: Unit, first: int) -> "pa.Table":
    """Return (id, key, bytes, file, the file's own columns)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    images, paths = table[column], None
    if pa.types.is_struct(images.type):
        images = images.combine_chunks()
        names = [images.type.field(place).name for place in range(images.type.num_fields)]
        paths = next((pc.struct_field(images, [name]) for name in KEYS if name in names), None)
        images = pc.struct_field(images, ["bytes"])
    named = named_rows(table, unit, first, column, paths)
    made = {"id": named.pop("id"), "key": named.pop("key"), "bytes": images.cast(pa.binary())}
    return pa.table(made | named)


def parquet_ids(source: Opened, path: str) -> "Ids | None":
    """Return the ids that a file brings (n,), none where it brings none.

    Raises InputError where they are no such ids.
    """
    import pyarrow.parquet as pq

    with source.fs.open(path) as file:
        parquet = pq.ParquetFile(file)
        if not brings_ids(parquet.schema_arrow):
            return None
        return signed_ids(parquet.read(["id"])["id"], path)


PARQUET = SourceKind(
    suffixes=frozenset({".parquet"}),
    batches=_batches,
    spans=_spans,
    ids=parquet_ids,
)
