"""The keypoints of one shard's pictures: found by the worker that reads them, kept, read by id."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids
from pipeline.core.files import checksum
from pipeline.core.folder import Place
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.dedup.keypoints import DIMENSIONS, SIDE, Keypoints, keypoints_of
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.exif import read_head
from pipeline.images.manifest import read_manifest
from pipeline.images.reader import read_images
from pipeline.images.source import Source

ROW_GROUP = 16  # rows, by id, that are read to get one of them
KEYPOINTS = pa.schema(
    [
        ("id", pa.int64()),
        ("points", pa.binary()),  # float32 (n, 4)
        ("descriptors", pa.binary()),  # uint8 (n, 128)
        ("picture", pa.binary()),  # uint8 (height, width, 3)
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("page", pa.binary()),  # JPEG of a plain picture, to read what is written; null: of others
        ("bytes", pa.string()),  # checksum of the file's bytes
        ("pixels", pa.string()),  # checksum of the picture, SIDE pixels long, and its full size
        ("camera", pa.bool_()),  # whether the file names the camera that took it
        ("quantised", pa.float64()),  # of its brightness, the mean step; null: not known
    ]
)


@dataclass(frozen=True)
class Seen:
    """What is known of a picture that was read again."""

    keypoints: Keypoints
    bytes: str  # checksums, as in KEYPOINTS
    pixels: str
    camera: bool
    quantised: float | None = None


Known = Mapping[int, Seen]  # by id


@dataclass(frozen=True)
class KeypointPlan:
    """All a worker needs to find the keypoints of any shard's pictures that are asked for."""

    name: ClassVar[str] = "find keypoints"
    source: Source
    embeddings: Place
    output: Place
    ids: Ids  # (n,), ascending

    def start(self) -> ShardFunction:
        """Return the function that finds the keypoints of one shard and tells what it cost."""
        cv2.setNumThreads(1)
        embeddings, store = Store.open(self.embeddings, "embeddings"), Store.open(self.output)
        manifest = read_manifest(embeddings)

        def find_in_shard(shard: int) -> pa.Table:
            started = time.time()
            known = embeddings.read(shard, ["id", "key", "checksum", "width", "height"])
            known = known.filter(pa.array(_placed(known["id"].to_numpy(), self.ids) >= 0))
            found = self._found(manifest, shard, known)
            store.write_shard(shard, found, row_group=ROW_GROUP)
            return shard_stats(shard, known.num_rows, started, found=found.num_rows)

        return find_in_shard

    def _found(self, manifest: pa.Table, shard: int, known: pa.Table) -> pa.Table:
        rows = []
        if known.num_rows:
            images = read_images(self.source, manifest, shard, known)
            for image, facts in zip(images.to_pylist(), known.to_pylist(), strict=True):
                # One that has changed since it was embedded has no bytes here.
                if image["bytes"] is not None:
                    rows += _row(image["bytes"], facts, self.source.max_pixels)
                advance(1)
        return pa.Table.from_pylist(rows, schema=KEYPOINTS).sort_by("id")


def _row(data: bytes, facts: dict[str, Any], max_pixels: int) -> list[dict[str, Any]]:
    try:
        pixels = decode_rgb(data, SIDE, max_pixels).pixels
    except UndecodableImage:
        return []
    found, head = keypoints_of(data, pixels, max_pixels), read_head(data)
    size = f"{facts['width']}x{facts['height']}".encode()
    return [
        {
            "id": facts["id"],
            "points": found.points.tobytes(),
            "descriptors": found.descriptors.tobytes(),
            "picture": found.picture.tobytes(),
            "height": found.picture.shape[0],
            "width": found.picture.shape[1],
            "page": found.jpeg,
            "bytes": facts["checksum"],
            "pixels": checksum(pixels.tobytes() + size),
            "camera": head.camera,
            "quantised": head.quantised,
        }
    ]


def read_keypoints(stores: Sequence[Store], shard: int, ids: Ids) -> Known:
    """Return those of ``ids`` int64 (n,) that ``stores`` hold in ``shard``.

    Row groups without any of them stay on disk.
    """
    found = {}
    for store in stores:
        rows = store.read_whole(shard, filters=[("id", "in", ids)])
        for row in rows.to_pylist():
            facts = (row[name] for name in ("bytes", "pixels", "camera", "quantised"))
            found[row["id"]] = Seen(_keypoints(row), *facts)
    return found


def _keypoints(row: dict[str, Any]) -> Keypoints:
    picture = np.frombuffer(row["picture"], np.uint8).reshape(row["height"], row["width"], 3)
    points = np.frombuffer(row["points"], np.float32).reshape(-1, 4)
    descriptors = np.frombuffer(row["descriptors"], np.uint8).reshape(-1, DIMENSIONS)
    return Keypoints(points, descriptors, picture, row["page"])


def kept_ids(stores: Sequence[Store]) -> Ids:
    """Return all ids that ``stores`` of keypoints hold, int64 (n,), ascending."""
    found = [np.empty(0, np.int64)]
    for store in stores:
        for entry in store.manifest():
            found.append(store.read(entry.shard, ["id"])["id"].to_numpy())
    return np.unique(np.concatenate(found))


def shards_of(ids: Ids, embeddings: Store) -> Ids:
    """Return the embedding shard of each of ``ids``, int64 (n,), ascending; -1: of none."""
    found = np.full(len(ids), -1, np.int64)
    for entry in embeddings.manifest():
        place = _placed(embeddings.read(entry.shard, ["id"])["id"].to_numpy(), ids)
        found[place[place >= 0]] = entry.shard
    return found


def _placed(some: Ids, ids: Ids) -> Ids:
    """Return where each of ``some`` stands in ``ids``, ascending; -1 where it does not."""
    if not len(ids):
        return np.full(len(some), -1)
    place = np.minimum(np.searchsorted(ids, some), len(ids) - 1)
    found: Ids = np.where(ids[place] == some, place, -1)
    return found
