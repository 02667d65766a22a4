"""Small pictures of images, for pages."""

import base64
import io
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.manifest import read_manifest
from pipeline.images.reader import read_images
from pipeline.images.source import Source

TEXT = "text:"  # what the key of a query in words begins with

CHANGED = "changed since it was embedded"
BLANK = (200, 200, 200)


def thumbnail(data: bytes, max_pixels: int = MAX_PIXELS, size: int = 200) -> bytes:
    """Return ``data`` as a small JPEG for a page. Raises UndecodableImage."""
    from pipeline.images.decode import decode_rgb

    image = Image.fromarray(decode_rgb(data, size, max_pixels).pixels)
    image.thumbnail((size, size))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it; ``jpeg`` is a thumbnail, empty of a query in words."""

    id: int | None  # none: of no store
    key: str
    jpeg: bytes

    @property
    def uri(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


@dataclass(frozen=True)
class Located:
    """Images of one shard, and the units of the source manifest that hold them."""

    shard: int
    images: pa.Table  # id, key, checksum, file
    manifest: pa.Table  # UNITS

    def among(self, ids: Container[int]) -> "Located":
        """Return those of the images that are among ``ids``."""
        mine = pa.array([number in ids for number in self.images["id"].to_pylist()], pa.bool_())
        return _held(self.shard, self.images.filter(mine), self.manifest)


def locate_images(store: Store, ids: set[int]) -> list[Located]:
    """Return where the images of ``ids`` are, shard by shard."""
    manifest = read_manifest(store)
    wanted = pa.array(sorted(ids), pa.int64())
    found = []
    for entry in store.manifest():
        known = store.read(entry.shard, ["id", "key", "checksum", "file"])
        known = known.filter(pa.compute.is_in(known["id"], value_set=wanted))
        if known.num_rows:
            found.append(_held(entry.shard, known, manifest))
    return found


def _held(shard: int, images: pa.Table, manifest: pa.Table) -> Located:
    held = pa.compute.is_in(manifest["path"], value_set=images["file"].combine_chunks())
    return Located(shard, images, manifest.filter(held))


def read_pictures(source: Source, store: Store, ids: set[int]) -> dict[int, Picture]:
    """Read the images of ``ids`` from the files of ``source`` that hold them, by id.

    As ``pictures_of`` gives them.
    """
    found = [pictures_of(source, located) for located in locate_images(store, ids)]
    return {picture.id: picture for some in found for picture in some if picture.id is not None}


def pictures_of(source: Source, located: Located, size: int = 200) -> list[Picture]:
    """Return the pictures of images located; size: of the longer side, pixels.

    That of an image which is no longer what it was is blank, and its key says so.
    """
    pictures = []
    images = read_images(source, located.manifest, located.shard, located.images)
    for row in images.to_pylist():
        there = row["bytes"] is not None
        key = row["key"] if there else f"{row['key']} ({CHANGED})"
        jpeg = thumbnail(row["bytes"], source.max_pixels, size) if there else _blank(size)
        pictures.append(Picture(row["id"], key, jpeg))
    return pictures


def _blank(size: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), BLANK).save(out, "JPEG")
    return out.getvalue()


def query_picture(key: str) -> Picture:
    """Return the picture of a query's file. Raises InputError where it is there no more."""
    if key.startswith(TEXT):
        return Picture(None, key.removeprefix(TEXT), b"")
    path = Path(key)
    if not path.exists():
        raise InputError(f"the query image {path} is gone; put it back or search again")
    return Picture(None, path.name, thumbnail(path.read_bytes(), sys.maxsize))
