"""Vectors as an Arrow column, and back."""

from typing import Any

import numpy as np
import pyarrow as pa


def embedding_column(vectors: np.ndarray[Any, Any]) -> pa.FixedSizeListArray:
    """Return f32 (n, d) as an Arrow column of d floats a row."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def embedding_matrix(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return an embedding column as f32 (n, d)."""
    array = column.combine_chunks()
    flat: np.ndarray[Any, Any] = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), column.type.list_size)
