"""Reading a shard of a source: the bytes of its images with their ids, keys and other columns."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.files import checksum
from pipeline.images.source import Source
from pipeline.images.webdataset import tar_images


def stable_id(key: str) -> int:
    """Return 63 bits of ``key``'s BLAKE2b digest: the id of an image that brings none."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def read_shard(source: Source, manifest: pa.Table, shard: int) -> pa.Table:
    """Read one shard, in the manifest's order.

    Returns id int64, key string (where the image is, below the source's root), bytes binary (null
    where the file is gone or is no longer the one in the manifest), then the source's own columns.
    Raises InputError where a Parquet file cannot be read or lacks the bytes column.
    """
    units = manifest.filter(pa.compute.equal(manifest["shard"], shard)).to_pylist()
    if source.kind == "parquet":
        return pa.concat_tables([_parquet_rows(source, unit) for unit in units])
    if source.kind == "webdataset":
        rows = [row for unit in units for row in _tar_rows(source, unit)]
    else:
        rows = _file_rows(source, units)
    return pa.Table.from_pylist(rows, schema=_LABELLED)


_LABELLED = pa.schema(
    [("id", pa.int64()), ("key", pa.string()), ("bytes", pa.binary()), ("label", pa.string())]
)


def _row(key: str, data: bytes | None, label: str) -> dict[str, Any]:
    return {"id": stable_id(key), "key": key, "bytes": data, "label": label}


def _checked_bytes(source: Source, unit: dict[str, Any]) -> bytes | None:
    try:
        data: bytes = source.filesystem().cat_file(source.path(unit["path"]))
    except OSError:
        return None
    return data if checksum(data) == unit["checksum"] else None


def _file_rows(source: Source, units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the files in one call, which object stores answer for many at once."""
    paths = [source.path(unit["path"]) for unit in units]
    # A lone path would come back as bytes; a path twice is read once.
    found = source.filesystem().cat([*paths, paths[0]], on_error="return")
    data = dict(zip(paths, (found.get(path) for path in paths), strict=True))
    rows = []
    for unit, path in zip(units, paths, strict=True):
        image = data[path]
        same = isinstance(image, bytes) and checksum(image) == unit["checksum"]
        folder = PurePosixPath(unit["path"]).parent.name
        rows.append(_row(unit["path"], image if same else None, folder))
    return rows


def _tar_rows(source: Source, unit: dict[str, Any]) -> Iterator[dict[str, Any]]:
    data = _checked_bytes(source, unit)
    if data is None:
        raise InputError(
            f"{source.path(unit['path'])} is gone or has changed since this output was begun; "
            "put it back, or choose another output folder"
        )
    for name, image, label in tar_images(data, unit["path"]):
        yield _row(f"{unit['path']}/{name}", image, label)


def _parquet_rows(source: Source, unit: dict[str, Any]) -> pa.Table:
    path = source.path(unit["path"])
    try:
        with source.filesystem().open(path) as file:
            # Files that `sluice` wrote carry a CRC a page; where there is none nothing is checked.
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            before = sum(parquet.metadata.row_group(g).num_rows for g in range(unit["start"]))
            table = parquet.read_row_groups(range(unit["start"], unit["stop"]))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew") from error
    if "bytes" not in table.column_names:
        raise InputError(f"{path} has no column named bytes; it has {table.column_names}")
    keys = [f"{unit['path']}#{before + row}" for row in range(table.num_rows)]
    if "id" in table.column_names and pa.types.is_integer(table.schema.field("id").type):
        ids = table["id"].cast(pa.int64())
    else:
        ids = pa.chunked_array([[stable_id(key) for key in keys]], pa.int64())
    own = [n for n in table.column_names if n not in ("id", "key", "bytes", "width", "height")]
    columns = {"id": ids, "key": keys, "bytes": table["bytes"].cast(pa.binary())}
    return pa.table(columns | {name: table[name] for name in own})
