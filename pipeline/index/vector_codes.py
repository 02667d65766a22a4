"""Vectors of a store in 4, 2 or 1 bytes a dimension, with the error that each one carries."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import AnyArray, Vectors
from pipeline.core.tables import embedding_column, embedding_matrix

Precision = Literal["f32", "f16", "int8"]


def encode_vectors(vectors: Vectors, precision: Precision) -> pa.Table:
    """Return (vector, scale, error) of f32 (n, d) rows.

    vector: d floats, d halves, or d signed bytes times ``scale``; error: the length of what the
    coding lost, so that no inner product with a unit vector is off by more.
    """
    columns, decoded = _ENCODERS[precision](np.ascontiguousarray(vectors, np.float32))
    lost = np.linalg.norm(vectors.astype(np.float64) - decoded, axis=1)
    above = np.nextafter(lost.astype(np.float32), np.float32(np.inf))
    return pa.table(columns | {"error": np.where(lost > 0, above, np.float32(0))})


def decode_vectors(table: pa.Table) -> Vectors:
    """Return the coded vectors as f32 (n, d)."""
    kind = table["vector"].type
    if pa.types.is_fixed_size_binary(kind):
        column = table["vector"].combine_chunks()
        start = column.offset * kind.byte_width
        flat = np.frombuffer(column.buffers()[1], np.int8)[start:]
        codes = flat[: len(column) * kind.byte_width].reshape(-1, kind.byte_width)
        return np.asarray(codes.astype(np.float32) * table["scale"].to_numpy()[:, None])
    return embedding_matrix(table["vector"]).astype(np.float32, copy=False)


def _floats(vectors: Vectors) -> tuple[dict[str, Any], AnyArray]:
    return {"vector": embedding_column(vectors), "scale": _ones(len(vectors))}, vectors


def _halves(vectors: Vectors) -> tuple[dict[str, Any], AnyArray]:
    halves = vectors.astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(halves.reshape(-1)), vectors.shape[1])
    return {"vector": column, "scale": _ones(len(vectors))}, halves.astype(np.float32)


def _bytes(vectors: Vectors) -> tuple[dict[str, Any], AnyArray]:
    largest = np.abs(vectors).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    codes = np.rint(vectors / scale[:, None]).astype(np.int8)
    width = vectors.shape[1]
    buffer = pa.py_buffer(codes.tobytes())
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(codes), [None, buffer])
    return {"vector": column, "scale": scale}, codes.astype(np.float32) * scale[:, None]


def _ones(count: int) -> Vectors:
    return np.ones(count, np.float32)


_Encoder = Callable[[Vectors], tuple[dict[str, Any], AnyArray]]
_ENCODERS: dict[str, _Encoder] = {"f32": _floats, "f16": _halves, "int8": _bytes}
