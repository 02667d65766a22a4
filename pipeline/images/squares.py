"""The images of a table as upright squares of pixels, and the quarantine of the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Pixels
from pipeline.images.decode import DecodedImage, UndecodableImage, decode_rgb
from pipeline.images.resize import resize_square

QUARANTINE = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
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


def decode_squares(images: pa.Table, size: int) -> Squares:
    """Decode and resize the ``bytes`` of ``images`` (id, key, bytes); nothing is raised for one."""
    squares, rows, widths, heights, refused = [], [], [], [], []
    for row, data in enumerate(images["bytes"]):
        try:
            image = _decode(data.as_py(), size)
        except UndecodableImage as error:
            refused.append({"reason": error.reason, "detail": error.detail, "row": row})
            continue
        squares.append(resize_square(image.pixels, size))
        rows.append(row)
        widths.append(image.width)
        heights.append(image.height)
    pixels = np.stack(squares) if squares else np.empty((0, size, size, 3), np.uint8)
    return Squares(pixels, rows, widths, heights, _quarantine(images, refused))


def _decode(data: bytes | None, size: int) -> DecodedImage:
    if data is None:
        raise UndecodableImage("changed", "gone or changed since the source manifest was written")
    return decode_rgb(data, size)


def _quarantine(images: pa.Table, refused: list[dict[str, Any]]) -> pa.Table:
    for entry in refused:
        row = entry.pop("row")
        entry |= {"id": images["id"][row].as_py(), "key": images["key"][row].as_py()}
    return pa.Table.from_pylist(refused, schema=QUARANTINE)
