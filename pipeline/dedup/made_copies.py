"""The share of copies that a similarity recognises, by kind: of copies made of a sample."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from pipeline.core.arrays import Ids, Pixels
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.corpus.changes import CHANGES, changed
from pipeline.corpus.scenes import TRANSFORMS, change
from pipeline.dedup.asked import Kept, chances
from pipeline.dedup.hash_join import FARTHEST
from pipeline.dedup.keypoints import SIDE as KEYPOINTS_SIDE
from pipeline.dedup.keypoints import Keypoints, keypoints_of
from pipeline.dedup.look import Chances, look, shipped_weights
from pipeline.embedding.encoder import Encoder
from pipeline.embedding.settings import Encode
from pipeline.embedding.transform import transform_of
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.manifest import read_manifest
from pipeline.images.perceptual_hash import distances, oriented
from pipeline.images.reader import read_images
from pipeline.images.source import Source
from pipeline.images.squares import decode_squares
from pipeline.search.exact_topk import pair_scores

SIDE = 512  # pixels: copies are made of the scaled decode that covers this
COLUMNS = ["id", "key", "file", "checksum", "hash", "embedding"]
QUALITY, RECOMPRESSED = 85, (25, 55)
SHARDS = 8  # that a sample is drawn from
COPIES = pa.schema(
    [
        ("id", pa.int64()),
        ("transform", pa.string()),
        ("score", pa.float64()),  # cosine
        ("near", pa.bool_()),  # by the hashes, in some orientation
        ("sure", pa.float64()),  # by a second look, 0 to 1, as of LOOKS
        ("alike", pa.float64()),
    ]
)


class Recognised(NamedTuple):
    """How many of the copies made by one kind of change are recognised."""

    transform: str
    found: int
    made: int
    share: float


def copy_scores(
    source: Source,
    embeddings: Store,
    ids: Ids,
    count: int,
    encoder: Encoder,
    seed: int,
    widely: bool = False,
) -> pa.Table:
    """Return COPIES: how ``count`` images among ``ids`` int64 (n,) and copies of them compare.

    Each is changed by one of TRANSFORMS in turn, as ``sluice corpus`` does, and is drawn from
    SHARDS shards at most. encoder: that of ``embeddings``. Images that have changed since
    they were embedded are left out. widely: by one of CHANGES instead, which are more.
    """
    rng = np.random.default_rng([seed, 4])
    encode = encoder.start()
    entries = embeddings.manifest()
    drawn = np.sort(rng.permutation(len(entries))[:SHARDS])
    parts = [COPIES.empty_table()]
    for number, place in enumerate(drawn):
        table = embeddings.read(entries[place].shard, COLUMNS)
        mine = table.filter(pc.is_in(table["id"], value_set=pa.array(ids)))
        share = (count * (number + 1)) // len(drawn) - (count * number) // len(drawn)
        rows = rng.permutation(mine.num_rows)[:share]
        known = mine.take(pa.array(np.sort(rows)))
        parts.append(
            _scores(source, embeddings, entries[place].shard, known, encode, number, widely)
        )
    return pa.concat_tables(parts)


def _scores(
    source: Source,
    embeddings: Store,
    shard: int,
    known: pa.Table,
    encode: Encode,
    turn: int,
    widely: bool,
) -> pa.Table:
    if not known.num_rows:
        return COPIES.empty_table()
    manifest = read_manifest(embeddings)
    asked = pc.is_in(manifest["path"], value_set=known["file"].combine_chunks())
    images = read_images(source, manifest.filter(asked), shard, known)
    copies = pa.Table.from_pylist(list(_copies(images, source.max_pixels, turn, widely)), _MADE)
    fit = transform_of(embeddings.identity["transform"]).fit
    squares = decode_squares(copies, embeddings.identity["input_size"], fit=fit)
    made = copies.take(pa.array(squares.rows, pa.int64()))
    originals = known.take(pc.index_in(made["id"], value_set=known["id"]))
    rows = np.arange(made.num_rows)
    vectors = encode(squares.pixels) if len(rows) else np.empty((0, 1), np.float32)
    scores = pair_scores(embedding_matrix(originals["embedding"]), rows, vectors, rows)
    turned = oriented(squares.facts["hash"].to_numpy().astype(np.int64))
    near = (distances(turned, originals["hash"].to_numpy()) <= FARTHEST).any(axis=0)
    found = list(_chances(made, images, source.max_pixels))
    sure, alike = ([seen[place] for seen in found] for place in (0, 1))
    return pa.table([made["id"], made["transform"], scores, near, sure, alike], schema=COPIES)


def _chances(made: pa.Table, images: pa.Table, max_pixels: int) -> Iterator[Chances]:
    """Yield how likely a second look takes each copy for one of its original."""
    weights = shipped_weights()
    originals = images.take(pc.index_in(made["id"], value_set=images["id"]))
    pairs = zip(originals["bytes"].to_pylist(), made["bytes"].to_pylist(), strict=True)
    for one, other in pairs:
        yield look(_keypoints(one, max_pixels), _keypoints(other, max_pixels), weights)[1]


def _keypoints(data: bytes, max_pixels: int) -> Keypoints:
    pixels = decode_rgb(data, KEYPOINTS_SIDE, max_pixels).pixels
    return keypoints_of(data, pixels, max_pixels)


_MADE = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("bytes", pa.binary()),
        ("transform", pa.string()),
    ]
)


def _copies(
    images: pa.Table, max_pixels: int, turn: int, widely: bool
) -> Iterator[dict[str, object]]:
    names = list(CHANGES) if widely else TRANSFORMS[1:]
    before: list[Pixels] = []  # of which collages are made
    for row, image in enumerate(images.to_pylist()):
        transform = names[(row + turn * SHARDS) % len(names)]
        rng = np.random.default_rng([5, image["id"] % 2**64])
        try:
            pixels = decode_rgb(image["bytes"] or b"", SIDE, max_pixels).pixels
        except UndecodableImage:
            continue
        quality = int(rng.integers(*RECOMPRESSED)) if transform == "recompression" else QUALITY
        before = [*before[-2:], pixels]
        others = [before[0], before[-1], pixels[::-1]]
        made = changed(pixels, transform, rng, others) if widely else change(pixels, transform, rng)
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(made), quality, "RGB", "420")
        yield {"id": image["id"], "key": image["key"], "bytes": jpeg, "transform": transform}


def recognised(copies: pa.Table, similarity: float, kept: Kept | None) -> list[Recognised]:
    """Return what is recognised of each kind in COPIES: those as similar, or near by their hashes.

    kept: from which chance on a second look keeps pairs too, and hashes count; None: there is none,
    and they do not. What becomes a candidate by the nearest images alone is not counted.
    """
    enough = pc.greater_equal(copies["score"], similarity)
    if kept is not None:
        sure, alike = (copies[name].to_numpy() for name in ("sure", "alike"))
        sure = pa.array(chances(sure, alike, kept.shares) >= kept.least)
        enough = pc.and_(pc.or_(enough, copies["near"]), sure)
    counts = copies.append_column("found", enough.cast(pa.int64())).group_by("transform")
    rows = counts.aggregate([("found", "sum"), ("found", "count")]).sort_by("transform")
    names = ("transform", "found_sum", "found_count")
    found = zip(*(rows[name].to_pylist() for name in names), strict=True)
    return [Recognised(kind, seen, of, seen / of) for kind, seen, of in found]
