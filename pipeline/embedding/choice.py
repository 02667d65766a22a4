"""Which precision "auto" takes for a new store: the fastest that leaves f32's neighbours alone."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.store import Store
from pipeline.embedding.backends import usable_precisions
from pipeline.embedding.kept_loss import K
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.precision_loss import LEAST, MOST, SHARDS, WHOLE, kept_neighbours
from pipeline.embedding.settings import EncoderSettings, Precision
from pipeline.embedding.stored import built_encoder
from pipeline.images.reader import read_batches
from pipeline.images.source import Source
from pipeline.images.squares import decode_squares

RECORD = "tried.json"
KEPT = 0.99  # of f32's K nearest that must still be nearest: a drift of .01
FASTER = 1.1  # times as fast as f32 it must be: less may be chance
# Images from which on trying pays: f32 of a sample, and of int8 its calibration as well.
WORTH: dict[Precision, int] = {"bf16": 10_000, "int8": 200_000}


@dataclass(frozen=True)
class Tried:
    """A precision on images of a collection: ``recall`` is the share of f32's K nearest kept."""

    precision: Precision
    ms: float  # an image, on one thread
    recall: float


def worth_trying(settings: EncoderSettings, images: int) -> list[Precision]:
    """Return the precisions beside f32 that a job of so many images should try here."""
    kind = kind_of(settings.model)
    usable = usable_precisions(settings.backend, kind.backends)
    allowed = [p for p in usable if p in WORTH and (kind.kept or p != "int8")]
    return [precision for precision in allowed if images >= WORTH[precision]]


def sampled_squares(source: Source, manifest: pa.Table, settings: EncoderSettings) -> Pixels:
    """Return uint8 (n, s, s, 3), n <= MOST: the first images of some shards of a manifest."""
    shards = pc.unique(manifest["shard"]).to_pylist()
    rows = np.unique(np.linspace(0, len(shards) - 1, SHARDS).astype(int))
    size, fit = settings.input_size, settings.transform.fit
    parts = [
        decode_squares(images, size, source.max_pixels, fit=fit).pixels
        for row in rows
        for images in _first(source, manifest, shards[row], MOST // len(rows))
    ]
    return np.concatenate(parts)


def _first(source: Source, manifest: pa.Table, shard: int, count: int) -> list[pa.Table]:
    return [next(read_batches(source, manifest, shard, count)).slice(0, count)]


def try_precisions(
    settings: EncoderSettings, precisions: Sequence[Precision], squares: Pixels
) -> list[Tried]:
    """Embed uint8 (n, s, s, 3) in f32 and in ``precisions``; of few images nothing is learnt."""
    if len(squares) < LEAST:
        return []
    found, tried = {}, []
    for precision in (WHOLE, *precisions):
        vectors, ms = _timed(replace(settings, precision=precision), squares)
        found[precision] = vectors
        tried.append(Tried(precision, ms, kept_neighbours(found[WHOLE], vectors, K)))
    return tried


def _timed(settings: EncoderSettings, squares: Pixels) -> tuple[Vectors, float]:
    encode = built_encoder(settings).start()
    encode(squares[: settings.batch_size])
    began = time.perf_counter()
    vectors = encode(squares)
    return vectors, 1000 * (time.perf_counter() - began) / len(squares)


def fastest(tried: Sequence[Tried]) -> Precision:
    """Return the fastest of those FASTER than f32 that keep KEPT of its neighbours, else f32."""
    whole = next((each.ms for each in tried if each.precision == WHOLE), 0.0)
    fit = [each for each in tried if each.recall >= KEPT and FASTER * each.ms <= whole]
    return min(fit, key=lambda each: each.ms).precision if fit else WHOLE


def keep_tried(store: Store, tried: Sequence[Tried]) -> None:
    """Keep in ``store`` what was tried before it was begun."""
    store.attach(RECORD, json.dumps([asdict(each) for each in tried]).encode())


def kept_tried(store: Store) -> list[Tried]:
    """Return what ``keep_tried`` has kept, nothing where "auto" had no choice."""
    data = store.attached(RECORD)
    return [Tried(**each) for each in json.loads(data)] if data else []


def tried_rows(tried: Sequence[Tried]) -> list[tuple[str, str]]:
    """Return what was tried in words, a row a precision beside f32."""
    whole = next((each.ms for each in tried if each.precision == WHOLE), 0.0)
    return [
        (
            f"{each.precision}, tried at first",
            f"{whole / each.ms:.1f} times as fast as f32, {each.recall:.3f} of its {K} nearest "
            f"kept ({KEPT} is asked)",
        )
        for each in tried
        if each.precision != WHOLE
    ]
