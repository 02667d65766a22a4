"""The images of a table as upright squares of pixels, and the quarantine of the others."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Pixels
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import DecodedImage, UndecodableImage
from pipeline.images.fit import SQUASHED, Fit
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.perceptual_hash import perceptual_hash
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


FACTS = pa.schema(
    [
        ("width", pa.int32()),  # of the original, pixels
        ("height", pa.int32()),
        ("pages", pa.int32()),  # pages or frames of the file, of which this is the first
        ("decoded", pa.float32()),  # share of the rows before the first sign of damage
        ("contrast", pa.uint8()),  # most that a channel differs within the square, of 255
        ("hash", pa.int64()),  # as perceptual_hash gives it
    ]
)


@dataclass(frozen=True)
class Squares:
    """The images of a table that decode: squares of one size, and what is known of each."""

    pixels: Pixels  # (n, size, size, 3)
    rows: list[int]  # each one's row in the table
    facts: pa.Table  # FACTS of each
    quarantine: pa.Table  # the other rows, in QUARANTINE's schema


def unwatched(image: int, key: str) -> AbstractContextManager[None]:
    return nullcontext()


def decode_squares(
    images: pa.Table,
    size: int,
    max_pixels: int = MAX_PIXELS,
    watched: Watched = unwatched,
    fit: Fit = SQUASHED,
) -> Squares:
    """Decode and resize the ``bytes`` of ``images``; nothing is raised for one.

    images: id, key, bytes and, where some could not be read, refused with the reason. max_pixels is
    that of ``decode_rgb``.
    """
    squares, rows, facts, refused = [], [], [], []
    refusals = images["refused"] if "refused" in images.column_names else repeat(None)
    names = zip(images["id"].to_pylist(), images["key"].to_pylist(), strict=True)
    for row, (name, data, reason) in enumerate(zip(names, images["bytes"], refusals, strict=False)):
        try:
            with watched(*name):
                least = fit.decoded(size)
                image = _decode(data.as_py(), reason and reason.as_py(), least, max_pixels)
                square = resize_square(image.pixels, size, fit)
        except UndecodableImage as error:
            refused.append({"reason": error.reason, "detail": error.detail, "row": row})
            continue
        squares.append(square)
        rows.append(row)
        told = (_contrast(square), perceptual_hash(square))
        facts.append((image.width, image.height, image.pages, image.decoded, *told))
    pixels = np.stack(squares) if squares else np.empty((0, size, size, 3), np.uint8)
    columns = zip(*facts, strict=True) if facts else [[]] * len(FACTS)
    known = pa.table([list(column) for column in columns], schema=FACTS)
    return Squares(pixels, rows, known, _quarantine(images, refused))


def _contrast(square: Pixels) -> int:
    by_row = square.max(axis=0), square.min(axis=0)  # row by row first: they lie side by side
    return int((by_row[0].max(axis=0) - by_row[1].min(axis=0)).max())


def _decode(data: bytes | None, refused: str | None, size: int, max_pixels: int) -> DecodedImage:
    if data is None or refused:
        reason, _, detail = (refused or "empty: it has no bytes").partition(": ")
        raise UndecodableImage(reason, detail)
    return decode_rgb(data, size, max_pixels)


def _quarantine(images: pa.Table, refused: list[dict[str, Any]]) -> pa.Table:
    known = [name for name in ("id", "key", "file", "checksum") if name in images.column_names]
    for entry in refused:
        row = entry.pop("row")
        entry |= {name: images[name][row].as_py() for name in known}
    return pa.Table.from_pylist(refused, schema=QUARANTINE)
