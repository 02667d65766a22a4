"""Whom to keep of a group: ordered keys, the name last, so that nothing is left to a toss."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Ids

# By importance; of a table that lacks one, the others decide.
KEYS = (
    ("preferred", "descending"),
    ("whole", "descending"),
    ("uncropped", "descending"),
    ("unchanged", "descending"),
    ("pixels", "descending"),
    ("camera", "descending"),
    ("bytes", "descending"),
    ("modified", "ascending"),
    ("key", "ascending"),
    ("id", "ascending"),
)
TOLD = (
    "one that is preferred, then decoded whole, then no crop of another, then not grey or soft "
    "where another is not, then of the most pixels (without borders), naming its camera, of most "
    "bytes, the oldest, the first name"
)


def keeping_order(images: pa.Table) -> Ids:
    """Return the rows of ``images``, int64 (n,), the first to be kept first.

    preferred bool: its name matches what the user prefers; whole bool: it decoded to its end;
    uncropped, unchanged, camera bool and pixels int64: of the file, or as
    ``looked.with_changes`` tells them; bytes int64 of the file: of as many pixels the less
    compressed; modified int64, when the file was; key string; id int64. All but id may be missing,
    or null, which comes last.
    """
    keys = [(name, order) for name, order in KEYS if name in images.column_names]
    order: Ids = pc.sort_indices(images, sort_keys=keys).to_numpy()  # nulls at the end
    return order.astype(np.int64)


def preferred(keys: pa.ChunkedArray, patterns: Sequence[str]) -> pa.ChunkedArray:
    """Return bool (n,): whether each of ``keys`` matches one of ``patterns`` (* and ?)."""
    found = pa.chunked_array([pa.repeat(False, len(keys))])
    for pattern in patterns:
        for special in ("\\", "%", "_"):
            pattern = pattern.replace(special, f"\\{special}")
        pattern = pattern.replace("*", "%").replace("?", "_")
        found = pc.or_(found, pc.match_like(keys, pattern))
    return found
