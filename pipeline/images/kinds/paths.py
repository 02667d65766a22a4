"""Tables of paths or URLs, Parquet or CSV: each row names an image, which workers fetch.

A relative path lies below the table's folder, on its filesystem. Of CSV all columns are text.
"""

from collections.abc import Iterator
from posixpath import dirname
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.images.kinds.kind import Opened, SourceKind, Span, Unit, joined
from pipeline.images.kinds.parquet import opened, parquet_ids, row_spans, unit_rows
from pipeline.images.kinds.rows import named_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Ids

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FETCHED = 32  # images at once, for nobody knows their sizes


def _spans(source: Opened, path: str, shard_rows: int, shard_bytes: int) -> list[Span]:
    """Return the row groups of Parquet in parts, by its footer; the rows of CSV, by reading it."""
    with source.fs.open(path) as file:
        if _delimiter(path) is None:
            parquet = opened(file, path)
            _refuse_without(parquet.schema_arrow.names, path, source.column)
            return row_spans(parquet, shard_rows, shard_bytes)
    rows = sum(table.num_rows for table in _csv_tables(source, path, 0))
    starts = range(0, rows, shard_rows)
    return [Span(start, min(start + shard_rows, rows), 0) for start in starts]


def _delimiter(path: str) -> str | None:
    return next((d for suffix, d in DELIMITERS.items() if path.lower().endswith(suffix)), None)


def _refuse_without(names: list[str], path: str, column: str | None) -> None:
    if column not in names:
        raise InputError(f"{path} has no column {column} among {names}; mend source.path_column")


def _csv_tables(source: Opened, path: str, skipped: int) -> Iterator["pa.Table"]:
    """Yield the rows of a CSV file but the first ``skipped``, as many at once as a block holds."""
    import pyarrow as pa
    from pyarrow import csv

    parsed = csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True)
    try:
        with source.fs.open(path) as file:
            names = csv.open_csv(file, parse_options=parsed).schema.names
        _refuse_without(names, path, source.column)
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        some = csv.ReadOptions(skip_rows_after_names=skipped, use_threads=False)
        with source.fs.open(path) as file:
            for batch in csv.open_csv(file, some, parsed, as_text):
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); write it anew") from error


def _batches(source: Opened, units: list[Unit], rows: int) -> Iterator["pa.Table"]:
    most = min(rows, FETCHED)
    for unit in units:
        is_csv = _delimiter(unit["path"]) is not None
        tables = _csv_rows(source, unit, most) if is_csv else unit_rows(source, [unit], most)
        for table, _, first in tables:
            yield _images(source, table, unit, first)


def _csv_rows(source: Opened, unit: Unit, rows: int) -> Iterator[tuple["pa.Table", Unit, int]]:
    first = unit["start"]
    for table in _csv_tables(source, source.at(unit["path"]), first):
        for start in range(0, table.num_rows, rows):
            some = table.slice(start, min(rows, unit["stop"] - first))
            if not some.num_rows:
                return
            yield some, unit, first
            first += some.num_rows


def _images(source: Opened, table: "pa.Table", unit: Unit, first: int) -> "pa.Table":
    """Return (id, key, bytes, refused, file, the table's own columns); keys are the paths."""
    import pyarrow as pa

    texts = table[source.column].cast(pa.string())
    folder = dirname(source.at(unit["path"]))
    found = _fetched(source, folder, texts.to_pylist())
    named = named_rows(table, unit, first, "", texts.combine_chunks())
    made = {
        "id": named.pop("id"),
        "key": named.pop("key"),
        "bytes": pa.array([one if isinstance(one, bytes) else None for one in found], pa.binary()),
        "refused": pa.array([one if isinstance(one, str) else None for one in found], pa.string()),
    }
    return pa.table(made | named)


def _fetched(source: Opened, folder: str, texts: list[str | None]) -> list[bytes | str]:
    """Return each image's bytes, or "reason: detail" where it is a fact that there are none."""
    from pipeline.images.kinds.patience import read_files

    found: list[bytes | str] = ["empty: its row names no image"] * len(texts)
    places: dict[Any, list[tuple[int, str]]] = {}
    for row, text in enumerate(texts):
        if not text:
            continue
        try:
            fs, path = _located(source, folder, text)
            places.setdefault(fs, []).append((row, path))
        except ValueError as error:
            found[row] = f"unreadable: {error}"
    for fs, wanted in places.items():
        rows, paths = zip(*wanted, strict=True)
        for row, data in zip(rows, read_files(fs, list(paths)), strict=True):
            found[row] = data if isinstance(data, bytes) else _told(data)
    return found


def _located(source: Opened, folder: str, text: str) -> tuple[Any, str]:
    """Return the filesystem of an image, and the path there. Raises ValueError."""
    import fsspec

    if "://" not in text:
        return source.fs, text if text.startswith("/") else joined(folder, text)
    inner = text.rpartition("::")[2]
    try:
        if "://" not in inner and not inner.startswith("/"):  # no chain, but a name with colons
            fs = fsspec.filesystem(fsspec.utils.get_protocol(text))
            return fs, str(fs._strip_protocol(text))
        fs, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise InputError(f"{text} cannot be opened: {error}") from error
    return fs, path


def _told(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "unreadable: not there"
    return f"unreadable: {getattr(error, 'strerror', None) or error}"


def _ids(source: Opened, path: str) -> "Ids | None":
    return parquet_ids(source, path) if _delimiter(path) is None else None


PATHS = SourceKind(
    suffixes=frozenset({".parquet", *DELIMITERS}),
    batches=_batches,
    spans=_spans,
    ids=_ids,
    by_column=True,
)
