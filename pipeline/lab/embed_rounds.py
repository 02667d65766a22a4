"""Rounds of embedding the same images by all ways, and what they say of each way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Vectors
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.embedding.embed_source import embed_source
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed
from pipeline.lab.timing import middle_and_ends

RATES = ("way", "images/s", "least", "most", "ours / this", "least", "most", "cosine to ours")


@dataclass(frozen=True)
class OwnRun:
    """One whole job of ours: its record, wall seconds, and vectors f32 (n, d) by id."""

    record: RunRecord
    seconds: float
    vectors: Vectors

    def parts(self) -> dict[str, float]:
        """Return ms an image that the workers spent on each part."""
        spent, images = self.record.worker_seconds, self.record.images
        return {part: 1000 * seconds / images for part, seconds in spent.items()}


@dataclass(frozen=True)
class EmbedRound:
    """One round of all ways: images a second, vectors f32 (n, d) of the first images, and parts.

    The parts are ms an image by name: alone on one core, and inside a worker of ours, where
    decoding runs beside the model.
    """

    rates: dict[str, float]
    vectors: dict[str, Vectors]
    alone: dict[str, float]
    inside: dict[str, float]


def embed_anew(
    listed: Listed,
    shard_rows: ShardRows,
    settings: EncoderSettings,
    root: Path,
    spread: Spread,
    record: RunRecord,
) -> Store:
    """Embed all of a source into a new store at ``root``, as sluice embed does."""
    store = Store.create(root, "embeddings", embedding_identity(settings))
    embed_source(store, listed, shard_rows, settings, spread, record)
    return store


def vectors_by_id(store: Store) -> Vectors:
    """Return all embeddings f32 (n, d) of ``store`` in the order of the images' ids."""
    tables = [store.read(entry.shard, ["id", "embedding"]) for entry in store.manifest()]
    return embedding_matrix(pa.concat_tables(tables).sort_by("id")["embedding"])


def part_rows(rounds: Sequence[Mapping[str, float]]) -> list[tuple[Any, ...]]:
    """Return (part, median, least, most) over ``rounds`` of ms an image by part."""
    return [(name, *middle_and_ends(values)) for name, values in _by_name(rounds).items()]


def rate_rows(rounds: Sequence[EmbedRound], ours: str) -> list[tuple[Any, ...]]:
    """Return a row of RATES a way; ratios are of the same round, cosines of the last one."""
    rates, vectors = _by_name([r.rates for r in rounds]), rounds[-1].vectors
    rows = []
    for name, values in rates.items():
        ratios = [mine / other for mine, other in zip(rates[ours], values, strict=True)]
        cosine = "" if name not in vectors else f"{_cosine(vectors[ours], vectors[name]):.5f}"
        rows.append((name, *middle_and_ends(values), *middle_and_ends(ratios), cosine))
    return rows


def _by_name(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [values[name] for values in rounds] for name in rounds[0]}


def _cosine(one: Vectors, other: Vectors) -> float:
    return float((one.astype(np.float64) * other).sum(axis=1).mean())
