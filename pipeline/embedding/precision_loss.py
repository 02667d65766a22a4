"""What a store's precision costs: its vectors of some images beside f32's of the same images."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Vectors
from pipeline.core.paths import may_write
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, rows_of
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.kept_loss import K, PrecisionLoss, keep_loss, precision_loss
from pipeline.embedding.settings import EncoderSettings, Precision
from pipeline.images.manifest import read_manifest
from pipeline.images.reader import read_batches
from pipeline.images.source import Source
from pipeline.images.squares import decode_squares

WHOLE: Precision = "f32"
LEAST, MOST = 64, 256  # images measured on; fewer than LEAST tell little of ten nearest
SHARDS = 8  # that they are read from, spread evenly


def kept_neighbours(reference: Vectors, vectors: Vectors, k: int) -> float:
    """Return the share of the k nearest by ``reference`` that are among those by ``vectors``.

    Both f32 (n, d) of unit length, of the same images, n > k.
    """
    whole, found = _neighbours(reference, k), _neighbours(vectors, k)
    kept = [len(set(a) & set(b)) for a, b in zip(whole, found, strict=True)]
    return float(np.mean(kept)) / k


def _neighbours(vectors: Vectors, k: int) -> list[list[int]]:
    _, rows = faiss.knn(vectors, vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    return [[row for row in found if row != own][:k] for own, found in enumerate(rows.tolist())]


def measure_loss(store: Store, source: Source, settings: EncoderSettings) -> PrecisionLoss | None:
    """Embed up to MOST images of a finished store in f32, in this process; keep what was lost.

    It is measured once. None for vectors that are f32's, of fewer than LEAST images, and of a store
    that cannot be written to.
    """
    known = precision_loss(store)
    if known or settings.precision == WHOLE or store.images() < LEAST or not may_write(store.root):
        return known
    whole, found = _both(store, source, replace(settings, precision=WHOLE))
    if len(whole) < LEAST:
        return None
    loss = PrecisionLoss(len(whole), kept_neighbours(whole, found, K))
    with store.lock():
        keep_loss(store, loss)
    return loss


def _both(store: Store, source: Source, settings: EncoderSettings) -> tuple[Vectors, Vectors]:
    """Return f32 (n, d) as ``settings`` embed them and as ``store`` holds them, row by row."""
    encode, size = build_encoder(settings).start(), settings.input_size
    whole, found = [], []
    for images, known in _sampled(store, source):
        squares = decode_squares(images, size, source.max_pixels, fit=settings.transform.fit)
        if squares.rows:
            ids = images["id"].to_numpy()[squares.rows]
            whole.append(encode(squares.pixels))
            stored = embedding_matrix(known["embedding"])
            found.append(rows_of(ids, known["id"].to_numpy(), stored))
    return np.concatenate(whole), np.concatenate(found)


def _sampled(store: Store, source: Source) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the first images of some shards, those that are as they were, and the stored rows."""
    manifest, shards = read_manifest(store), [entry.shard for entry in store.manifest()]
    rows = np.unique(np.linspace(0, len(shards) - 1, SHARDS).astype(int))
    for shard in (shards[row] for row in rows):
        known = store.read(shard, ["id", "checksum", "embedding"])
        for images in islice(read_batches(source, manifest, shard, MOST // len(rows)), 1):
            same = pc.is_in(images["checksum"], value_set=known["checksum"].combine_chunks())
            there = pc.is_in(images["id"], value_set=known["id"].combine_chunks())
            yield images.filter(pc.and_(same, there)), known
