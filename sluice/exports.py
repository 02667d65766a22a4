"""Embeddings as files that others open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, unified
from sluice.stored import read_store

UNFIT = (AttributeError, OverflowError, TypeError, ValueError)  # names and values, to FiftyOne


def to_faiss(store: str | Path, path: str | Path) -> int:
    """Write a flat FAISS index of inner products, which has our ids; return its vectors."""
    found = read_store(store)
    width = Store.open(found.root).schema().field("embedding").type.list_size
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(width))
    for table in found.tables(["id", "embedding"]):
        index.add_with_ids(embedding_matrix(table["embedding"]), table["id"].to_numpy())
    faiss.write_index(index, str(path))
    return int(index.ntotal)


def to_huggingface(store: str | Path, folder: str | Path) -> list[Path]:
    """Write Parquet files as HuggingFace's ``load_dataset(folder)`` takes them; return them."""
    tables, data = list(_alike(store)), Path(folder) / "data"
    data.mkdir(parents=True, exist_ok=True)
    paths = [data / f"train-{n:05}-of-{len(tables):05}.parquet" for n in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(table, path)
    return paths


def to_lance(store: str | Path, path: str | Path) -> None:
    """Write a Lance dataset. Raises ConfigError where pylance is not installed."""
    try:
        import lance
    except ImportError as error:
        raise ConfigError("Lance is not installed; pip install pylance") from error
    schema = _schema(store)
    batches = (batch for table in _alike(store) for batch in table.to_batches())
    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches), str(path))


def to_fiftyone(store: str | Path, name: str, photos: str | Path) -> None:
    """Make FiftyOne's persistent dataset ``name``: a sample an image of the folder ``photos``.

    Its fields are the columns; what FiftyOne has a field for itself, as ``id``, begins with image_.
    Raises ConfigError where FiftyOne is not installed, has a dataset of that name or does not take
    a column's name or values, InputError where ``photos`` lacks an image.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise ConfigError("FiftyOne is not installed; pip install fiftyone") from error
    if fiftyone.dataset_exists(name):
        raise ConfigError(f"FiftyOne has a dataset {name}; give another name or delete that one")
    folder = Path(photos).resolve()
    _refuse_missing(read_store(store).arrow(["key"])["key"], folder)
    dataset = fiftyone.Dataset(name, persistent=True)
    own = {*dataset.get_field_schema(), "pk"}
    try:
        for table in read_store(store).tables():
            dataset.add_samples(
                fiftyone.Sample(filepath=str(folder / row["key"]), **_renamed(row, own))
                for row in _rows(table)
            )
    except BaseException as error:
        dataset.delete()  # a part of the images would pass for all
        if isinstance(error, UNFIT):
            raise ConfigError(f"FiftyOne does not take {store}: {error}") from error
        raise


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    vectors, rows = embedding_matrix(table["embedding"]), table.drop_columns("embedding")
    for row, vector in zip(rows.to_pylist(), vectors, strict=True):
        yield row | {"embedding": vector}


def _renamed(row: dict[str, Any], own: set[str]) -> dict[str, Any]:
    return {f"image_{name}" if name in own else name: value for name, value in row.items()}


def _refuse_missing(keys: pa.ChunkedArray, folder: Path) -> None:
    missing = next((key for key in keys.to_pylist() if not (folder / key).is_file()), None)
    if missing is not None:
        raise InputError(f"{folder} has no {missing}; name the folder that was embedded")


def _schema(store: str | Path) -> pa.Schema:
    """Return one schema for all shards: a column that some lack is null there."""
    opened = Store.open(read_store(store).root)
    schemas = [opened.shards.schema(entry.shard) for entry in opened.manifest()]
    return pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()


def _alike(store: str | Path) -> Iterator[pa.Table]:
    schema = _schema(store)
    for table in read_store(store).tables():
        yield unified([schema.empty_table(), table]).select(schema.names).cast(schema)
