"""The images of a table as upright squares of pixels, and the quarantine of the others."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Pixels
from pipeline.images.decode import DecodedImage, UndecodableImage, decode_rgb
from pipeline.images.resize import resize_square

# The id and key of an image -> what is held while it is decoded.
Watched = Callable[[int, str], AbstractContextManager[None]]
QUARANTINE = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("file", pa.string()),  # null: of no source
        ("checksum", pa.string()),  # null: not read
    ]
)


@dataclass(frozen=True)
class Squares:
    """The images of a table that decode: squares of one size, and what is known of each."""

    pixels: Pixels  # (n, size, size, 3)
    rows: list[int]  # each one's row in the table
    widths: list[int]  # of the original, pixels
    heights: list[int]
    quarantine: pa.Table  # the other rows, in QUARANTINE's schema


def unwatched(image: int, key: str) -> AbstractContextManager[None]:
    return nullcontext()


def decode_squares(images: pa.Table, size: int, watched: Watched = unwatched) -> Squares:
    """Decode and resize the ``bytes`` of ``images``; nothing is raised for one.

    images: id, key, bytes and, where some could not be read, refused with the reason.
    """
    squares, rows, widths, heights, refused = [], [], [], [], []
    told = images["refused"] if "refused" in images.column_names else repeat(None)
    names = zip(images["id"].to_pylist(), images["key"].to_pylist(), strict=True)
    for row, (name, data, reason) in enumerate(zip(names, images["bytes"], told, strict=False)):
        try:
            with watched(*name):
                image = _decode(data.as_py(), reason and reason.as_py(), size)
                square = resize_square(image.pixels, size)
        except UndecodableImage as error:
            refused.append({"reason": error.reason, "detail": error.detail, "row": row})
            continue
        squares.append(square)
        rows.append(row)
        widths.append(image.width)
        heights.append(image.height)
    pixels = np.stack(squares) if squares else np.empty((0, size, size, 3), np.uint8)
    return Squares(pixels, rows, widths, heights, _quarantine(images, refused))


def _decode(data: bytes | None, refused: str | None, size: int) -> DecodedImage:
    if data is None or refused:
        reason, _, detail = (refused or "empty: it has no bytes").partition(": ")
        raise UndecodableImage(reason, detail)
    return decode_rgb(data, size)


def _quarantine(images: pa.Table, refused: list[dict[str, Any]]) -> pa.Table:
    known = [name for name in ("id", "key", "file", "checksum") if name in images.column_names]
    for entry in refused:
        row = entry.pop("row")
        entry |= {name: images[name][row].as_py() for name in known}
    return pa.Table.from_pylist(refused, schema=QUARANTINE)
