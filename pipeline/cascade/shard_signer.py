"""One shard from image bytes to signatures on disk, all in the worker that reads it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa

from pipeline.cascade.signature import LENGTH, SIDE, signature
from pipeline.core.folder import Place
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import unified
from pipeline.images.deadline import SECONDS_AN_IMAGE
from pipeline.images.decode import DECODER
from pipeline.images.fit import SMALLEST
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.guard import Guard
from pipeline.images.reader import begun, read_batches
from pipeline.images.resize import RESIZER
from pipeline.images.source import Source
from pipeline.images.squares import FACTS, QUARANTINE, Squares, Watched, decode_squares, unwatched

IMAGES_AT_ONCE = 256
SIGNATURE_VERSION = 1  # of pipeline.cascade.signature's definition


def signature_identity() -> dict[str, Any]:
    """Return what a signature's value depends on beside its image."""
    return {
        "signature": SIGNATURE_VERSION,
        "length": LENGTH,
        "decoder": DECODER,
        "resizer": RESIZER,
    }


def sign_images(
    batches: Iterable[pa.Table], max_pixels: int = MAX_PIXELS, watched: Watched = unwatched
) -> tuple[pa.Table, pa.Table]:
    """Sign the tables that read_batches gives, one after the other.

    Returns (id, key, FACTS, size, signature, the source's own columns) of the images that decode,
    in their order, and the quarantine of the others. size is the file's, in bytes.
    """
    parts, refused = [], [QUARANTINE.empty_table()]
    for batch in batches:
        squares = decode_squares(batch, SIDE, max_pixels, watched, SMALLEST)
        parts.append(_signed(batch.take(pa.array(squares.rows, pa.int64())), squares))
        refused.append(squares.quarantine)
        advance(batch.num_rows)
    return unified(parts), pa.concat_tables(refused)


def _signed(images: pa.Table, squares: Squares) -> pa.Table:
    sizes = pa.compute.binary_length(images["bytes"]).to_pylist()
    shapes = (squares.facts[name].to_pylist() for name in ("width", "height"))
    rows = [signature(*facts) for facts in zip(squares.pixels, *shapes, sizes, strict=True)]
    flat = pa.array(np.concatenate(rows) if rows else np.empty(0, np.uint8))
    columns = {
        "id": images["id"],
        "key": images["key"],
        **{name: squares.facts[name] for name in FACTS.names},
        "size": pa.array(sizes, pa.int32()),
        "signature": pa.FixedSizeListArray.from_arrays(flat, LENGTH),
    }
    taken = {*columns, "bytes", "refused"}
    return pa.table(columns | {n: images[n] for n in images.column_names if n not in taken})


@dataclass(frozen=True)
class SignPlan:
    """All a worker needs to sign any shard of a source into a store."""

    name: ClassVar[str] = "sign"
    in_hand: ClassVar[int] = 2
    source: Source
    manifest: pa.Table
    output: Place
    seconds_an_image: float = SECONDS_AN_IMAGE

    def start(self) -> ShardFunction:
        """Return the function that signs one shard and tells what it cost."""
        cv2.setNumThreads(1)
        store, turn = Store.open(self.output, "signatures"), Lock()

        def sign_shard(shard: int) -> pa.Table:
            ahead = begun(read_batches(self.source, self.manifest, shard, IMAGES_AT_ONCE))
            limit = self.source.max_pixels
            asked = (store, self.manifest, shard, SIDE, self.seconds_an_image, limit)
            with turn:
                started = time.time()
                with Guard(*asked) as guard:
                    table, refused = sign_images(guard.checked(ahead), limit, guard.watched)
                ended = time.time()
            entry = store.write_shard(shard, table, refused)
            told = {"quarantined": entry.quarantined, "entry": entry._asdict()}
            return shard_stats(shard, entry.rows + entry.quarantined, started, ended=ended, **told)

        return sign_shard
