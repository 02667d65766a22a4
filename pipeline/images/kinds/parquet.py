"""Parquet files with a column of images' bytes, cut into shards between rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.images.kinds.kind import SourceKind, Span, Unit, image_id, joined

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.core.arrays import Ids

PATHS = ("path", "file_name", "filename")  # of an image beside its bytes


def _spans(fs: Any, path: str, shard_rows: int, shard_bytes: int) -> list[Span]:
    """Return the row groups of a file, a large one in parts; only its footer is read."""
    spans = []
    with fs.open(path) as file:
        metadata = _opened(file, path).metadata
    first = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows, size = group.num_rows, group.total_byte_size
        step = max(1, min(shard_rows, shard_bytes * rows // max(1, size)))
        for start in range(first, first + rows, step):
            stop = min(start + step, first + rows)
            spans.append(Span(start, stop, size * (stop - start) // rows))
        first += rows
    return spans


def _opened(file: Any, path: str) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Files that `sluice` wrote carry a CRC a page; where there is none nothing is checked.
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not Parquet ({reason}); remove it or write it anew") from error
    image_column(parquet.schema_arrow, path)
    return parquet


def image_column(schema: "pa.Schema", path: str) -> str:
    """Return the column of the images: ``bytes``, else the one that can be no other.

    That is a column of binary, or a struct with ``bytes`` in it as HuggingFace writes it. Raises
    InputError where there is none, or several.
    """
    names: list[str] = [name for name in schema.names if _holds_images(schema.field(name).type)]
    if "bytes" in names:
        return "bytes"
    if len(names) == 1:
        return names[0]
    said = f"{len(names)} columns that may be images ({', '.join(names)})" if names else "none"
    raise InputError(
        f"{path} has no column named bytes and {said} among {schema.names}; name the images' "
        "column bytes"
    )


def _holds_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return "bytes" in names and _holds_images(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _batches(fs: Any, root: str, units: list[Unit], rows: int) -> Iterator["pa.Table"]:
    import pyarrow as pa

    for unit in units:
        path = joined(root, unit["path"])
        try:
            with fs.open(path) as file:
                yield from _unit_batches(_opened(file, path), unit, rows)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}); write it anew") from error


def _unit_batches(parquet: "pq.ParquetFile", unit: Unit, rows: int) -> Iterator["pa.Table"]:
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
            yield _images(some, unit, first)
        row += batch.num_rows


def _images(table: "pa.Table", unit: Unit, first: int) -> "pa.Table":
    """Return (id, key, bytes, the file's own columns); ids are its own where they are integers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = image_column(table.schema, unit["path"])
    images, paths = table[column], None
    if pa.types.is_struct(images.type):
        images = images.combine_chunks()
        names = [images.type.field(place).name for place in range(images.type.num_fields)]
        paths = next((pc.struct_field(images, [name]) for name in PATHS if name in names), None)
        images = pc.struct_field(images, ["bytes"])
    rows = range(first, first + table.num_rows)
    keys = [f"{unit['path']}#{row}" for row in rows]
    if "id" in table.column_names and pa.types.is_integer(table.schema.field("id").type):
        ids = table["id"].cast(pa.int64())
    else:
        ids = pa.array([image_id(key, unit["revision"]) for key in keys], pa.int64())
    own = [n for n in table.column_names if n not in ("id", "key", column, "width", "height")]
    columns = {"id": ids, "key": keys, "bytes": images.cast(pa.binary())}
    columns |= {} if paths is None else {"path": paths}
    # "refused" is what a kind of source says of an image, so a file's own must not be taken for it.
    named = {"source_refused" if name == "refused" else name: table[name] for name in own}
    return pa.table(columns | named)


def _ids(fs: Any, path: str) -> "Ids | None":
    """Return a file's ids. Raises InputError where one is null or no signed 64-bit number."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with fs.open(path) as file:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if "id" not in names or not pa.types.is_integer(parquet.schema_arrow.field("id").type):
            return None
        column = parquet.read(["id"])["id"]
    remedy = "give every image a number of its own below 2^63, or leave the column out"
    if column.null_count:
        raise InputError(f"{path} has {column.null_count} images without an id; {remedy}")
    most = pc.max(column).as_py() or 0
    if most >= 2**63:
        raise InputError(f"{path} has ids up to {most}; {remedy}")
    ids: Ids = column.cast(pa.int64()).to_numpy()
    return ids


PARQUET = SourceKind(
    suffixes=frozenset({".parquet"}),
    batches=_batches,
    file_of=lambda key: key.rpartition("#")[0],
    spans=_spans,
    ids=_ids,
)
