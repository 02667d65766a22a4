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
    ("unstretched", "descending"),
    ("pixels", "descending"),
    ("usual", "descending"),
    ("finest", "descending"),
    ("camera", "descending"),
    ("modified", "ascending"),
    ("bytes", "descending"),
    ("key", "ascending"),
    ("id", "ascending"),
)
TOLD = (
    "one that is preferred, then decoded whole, then no crop of another, then not grey, soft or "
    "stretched where another is not, then of the most pixels (without borders), neither turned nor "
    "recoloured against most others, saved at the higher quality where pictures are alike, naming "
    "its camera, the oldest, of most bytes, the first name"
)


def keeping_order(images: pa.Table) -> Ids:
    """Return the rows of ``images``, int64 (n,), the first to be kept first.

    preferred bool: its name matches what the user prefers; whole bool: it decoded to its end;
    uncropped, unchanged, unstretched, usual, finest, camera bool and pixels int64: of the file, or
    as ``looked.with_changes`` tells them; modified int64, when the file was; bytes int64 of the
    file, which tell what is less compressed where no look tells what is finest; key string; id
    int64. All but id may be missing, or null, which comes last.
    """
    names = images.column_names
    keys: dict[str, str] = {}
    for name, order in KEYS:
        name = "bytes" if name == "finest" and name not in names else name
        if name in names:
            keys.setdefault(name, order)
    rows: Ids = pc.sort_indices(images, sort_keys=list(keys.items())).to_numpy()  # nulls at the end
    return rows.astype(np.int64)


def preferred(keys: pa.ChunkedArray, patterns: Sequence[str]) -> pa.ChunkedArray:
    """Return bool (n,): whether each of ``keys`` matches one of ``patterns`` (* and ?)."""
    found = pa.chunked_array([pa.repeat(False, len(keys))])
    for pattern in patterns:
        for special in ("\\", "%", "_"):
            pattern = pattern.replace(special, f"\\{special}")
        pattern = pattern.replace("*", "%").replace("?", "_")
        found = pc.or_(found, pc.match_like(keys, pattern))
    return found
