"""The rows of a part of an index, in bucket order: one Arrow file, read where it is needed.

A search reads the codes of the buckets it probes and the vectors of its candidates, and leaves the
rest on disk. So nothing is compressed, and each bucket and each vector has a checksum of its own.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.arrays import AnyArray, Ids, Numbers, Vectors
from pipeline.core.errors import StoreError
from pipeline.core.folder import Place, fetched
from pipeline.core.makers import made_by
from pipeline.core.objects import ObjectPath
from pipeline.core.store import Store
from pipeline.index.coarse_codes import Codes

Checks = NDArray[np.uint32]  # CRC-32


def rows_name(part: int) -> str:
    """Return the name under which an index keeps the rows of ``part``."""
    return f"rows/{part:06d}.arrow"


@dataclass(frozen=True)
class BucketRows:
    """The rows of a part by bucket, then id: those of ``buckets[i]`` from ``edges[i]`` on."""

    buckets: Numbers  # (b,) those that hold rows, ascending
    edges: Ids  # (b + 1,)
    bucket_checks: Checks  # (b,)
    ids: Ids  # (n,)
    shards: Numbers  # (n,) where each image stands in the embeddings
    rows: Numbers  # (n,)
    codes: Codes  # (n, c)
    checks: Checks  # (n,) of the vectors
    vectors: Vectors  # f32 (n, d)
    path: Place

    def checked_bucket(self, place: int) -> slice:
        """Return the rows of bucket ``buckets[place]``. Raises StoreError where they changed."""
        some = slice(int(self.edges[place]), int(self.edges[place + 1]))
        if self._check(some) != self.bucket_checks[place]:
            raise self._changed(f"bucket {self.buckets[place]}")
        return some

    def checked_vectors(self, rows: Ids) -> Vectors:
        """Return the vectors f32 (m, d) of ``rows`` (m,). Raises StoreError where one changed."""
        found = self.vectors[rows]
        self._refuse_changed(found, self.checks[rows], self.ids[rows])
        return found

    def refuse_changed_buckets(self) -> None:
        """Raise StoreError where any bucket changed; all but the vectors is read."""
        for place in range(len(self.buckets)):
            self.checked_bucket(place)

    def refuse_changed_vectors(self) -> None:
        """Raise StoreError where any vector changed; all are read."""
        self._refuse_changed(self.vectors, self.checks, self.ids)

    def _refuse_changed(self, vectors: Vectors, checks: Checks, ids: Ids) -> None:
        wrong = np.flatnonzero(vector_checks(vectors) != checks)
        if len(wrong):
            raise self._changed(f"the vector of image {ids[wrong[0]]}")

    def table(self) -> pa.Table:
        """Return (bucket, rows, check), a row a bucket."""
        facts = {"bucket": self.buckets, "rows": np.diff(self.edges)}
        return pa.table({**facts, "check": self.bucket_checks})

    def _check(self, some: slice) -> int:
        check = 0
        columns: tuple[AnyArray, ...] = (self.ids, self.shards, self.rows, self.codes, self.checks)
        for column in columns:
            check = zlib.crc32(np.ascontiguousarray(column[some]).data, check)
        return check

    def _changed(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path} is damaged ({what}); delete it and its .json, then run "
            f"{made_by('index')} again"
        )


def vector_checks(vectors: Vectors) -> Checks:
    """Return the CRC-32 of each row of f32 (n, d)."""
    whole = np.ascontiguousarray(vectors)
    return np.array([zlib.crc32(row.data) for row in whole], np.uint32).reshape(len(whole))


def sorted_rows(
    buckets: Numbers, ids: Ids, shards: Numbers, rows: Numbers, codes: Codes, vectors: Vectors
) -> BucketRows:
    """Return what is given, a row an image in any order, by bucket, then id."""
    order = np.lexsort((ids, buckets))
    there, counts = np.unique(buckets, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    vectors = vectors[order]
    columns = (ids[order], shards[order], rows[order], codes[order], vector_checks(vectors))
    made = BucketRows(there, edges, np.zeros(len(there), np.uint32), *columns, vectors, Path())
    checks = [made._check(slice(*edges[place : place + 2])) for place in range(len(there))]
    return BucketRows(there, edges, np.array(checks, np.uint32), *columns, vectors, Path())


def write_rows(store: Store, part: int, rows: BucketRows) -> None:
    """Keep the rows of ``part``, then its buckets as the shard that makes them count."""
    narrow = {"id": rows.ids, "shard": rows.shards, "row": rows.rows, "check": rows.checks}
    wide = {"code": _lists(rows.codes), "vector": _lists(rows.vectors)}
    batch = pa.RecordBatch.from_pydict(narrow | wide)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as file:
        file.write_batch(batch)
    store.attach(rows_name(part), sink.getvalue().to_pybytes())
    store.write_shard(part, rows.table())


def _lists(values: AnyArray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def open_rows(store: Store, part: int) -> BucketRows:
    """Map the rows of ``part``; nothing but its buckets is read.

    Raises StoreError where a file is missing, or the buckets' is damaged.
    """
    told = store.read_whole(part)
    path = store.attachments.path(rows_name(part))
    try:
        batch = pa.ipc.open_file(_mapped(path)).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} cannot be read ({reason}); delete it and its .json") from error
    flat = {name: batch[name].to_numpy() for name in ("id", "shard", "row", "check")}
    codes, vectors = (
        batch[name].flatten().to_numpy().reshape(len(batch), -1) for name in ("code", "vector")
    )
    counts = told["rows"].to_numpy()
    return BucketRows(
        told["bucket"].to_numpy(),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        told["check"].to_numpy(),
        flat["id"],
        flat["shard"],
        flat["row"],
        codes,
        flat["check"],
        vectors,
        path,
    )


def _mapped(path: Place) -> pa.NativeFile:
    if isinstance(path, ObjectPath):
        return pa.BufferReader(pa.py_buffer(fetched(path)))
    return pa.memory_map(str(path))
