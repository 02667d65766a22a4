"""Image files as queries: read, decoded and embedded here."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.embedding.encoder import NO_EMBEDDING, has_direction
from pipeline.embedding.settings import Encode
from pipeline.images.fit import SQUASHED, Fit
from pipeline.images.formats import IMAGE_SUFFIXES, MAX_PIXELS
from pipeline.images.listing import list_files
from pipeline.images.squares import decode_squares
from pipeline.search.queries import Queries


def folder_images(folder: str) -> list[Path]:
    """Return the image files in ``folder`` and below it, in order."""
    from fsspec.implementations.local import LocalFileSystem

    files = list_files(LocalFileSystem(), os.path.abspath(folder)).files
    mine = pc.is_in(files["suffix"], value_set=pa.array(sorted(IMAGE_SUFFIXES)))
    return [Path(folder, path) for path in files["path"].filter(mine).to_pylist()]


def read_files(paths: list[Path]) -> pa.Table:
    """Return (id, key, bytes, refused) of image files, as read_batches gives images; ids are null.

    The key is the path as given; of a file that cannot be read, refused says why.
    """
    data: list[bytes | None] = []
    refused: list[str | None] = []
    for path in paths:
        try:
            data.append(path.read_bytes())
            refused.append(None)
        except OSError as error:
            data.append(None)
            refused.append(f"unreadable: {error.strerror}")
    return pa.table(
        {
            "id": pa.nulls(len(paths), pa.int64()),
            "key": pa.array(map(str, paths), pa.string()),
            "bytes": pa.array(data, pa.binary()),
            "refused": pa.array(refused, pa.string()),
        }
    )


def refused_lines(quarantine: pa.Table) -> tuple[str, ...]:
    """Return a line for each row of a quarantine."""
    return tuple(f"{r['key']} ({r['reason']}: {r['detail']})" for r in quarantine.to_pylist())


def embed_files(
    paths: list[Path],
    encode: Encode,
    size: int,
    max_pixels: int = MAX_PIXELS,
    fit: Fit = SQUASHED,
) -> Queries:
    """Embed image files; those that are no usable images are among ``refused``."""
    images = read_files(paths)
    squares = decode_squares(images, size, max_pixels, fit=fit)
    lines = refused_lines(squares.quarantine)
    keys = np.array(images["key"].to_pylist(), object)[squares.rows]
    vectors = encode(squares.pixels) if len(keys) else np.empty((0, 0), np.float32)
    usable = has_direction(vectors)
    lines += tuple(f"{key} ({NO_EMBEDDING}: the model gives none)" for key in keys[~usable])
    keys, vectors = keys[usable].tolist(), vectors[usable]
    count = len(keys)
    return Queries(keys, np.zeros(count, np.int64), np.zeros(count, np.bool_), vectors, lines)
