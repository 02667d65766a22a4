"""The work that can be scaled, opened once: its inputs are there, and named in the store's name."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cascade.shard_signer import signature_identity
from pipeline.core.files import checksum
from pipeline.core.store import Store
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.shard_embedder import embedding_identity
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import Listed, Source
from pipeline.lab.scaling.emulated import EmulatedPlan
from pipeline.lab.scaling.run import RunSettings
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.work import (
    Work,
    embed_work,
    emulated_work,
    search_work,
    shards_of,
    sign_work,
)
from pipeline.search.merge import SPARE
from pipeline.search.queries import sample_ids, stored_queries


@dataclass(frozen=True)
class Workload:
    """One kind of work, opened: its inputs are there and fixed."""

    decided_by: dict[str, Any]  # what decides its runs beside ScaleSettings
    shards: int  # of a strong-scaling run
    work: Callable[[RunSettings, Path], Work]  # for one run, which may write in the folder


def emulated_workload(scale: ScaleSettings) -> Workload:
    """Return the workload that sleeps ``scale.ms`` an image."""

    def work(run: RunSettings, scratch: Path) -> Work:
        plan = EmulatedPlan(
            run.images, scale.shard_images, scale.ms / 1000, scale.queries, scale.k + SPARE
        )
        return emulated_work(plan, scale.k)

    return Workload({}, -(-scale.images // scale.shard_images), work)


@dataclass(frozen=True)
class Images:
    """The images of a source that the runs read, and what decides which they are."""

    source: Source
    manifest: pa.Table
    decided_by: dict[str, Any]


def choose_images(listed: Listed, shard_rows: int, most: int, named: Mapping[str, Any]) -> Images:
    """Return the first whole shards of a source, of at most ``most`` images together.

    It is one shard at least. ``named`` is how the source was asked for. Raises InputError where it
    cannot be used.
    """
    manifest = plan_manifest(listed, shard_rows).manifest
    rows = np.cumsum(pc.fill_null(manifest["rows"], shard_rows).to_numpy())  # a tar's are unknown
    manifest = manifest.filter(pa.array(rows <= max(most, rows[0])))
    decided_by: dict[str, Any] = {"source": dict(named)}
    decided_by |= {"source_units": checksum(json.dumps(manifest.to_pydict()).encode())}
    return Images(listed.source, manifest, decided_by)


def embed_workload(images: Images, settings: EncoderSettings) -> Workload:
    """Return the workload that embeds ``images``; the encoder is built with the first run."""
    encoder = cache(lambda: build_encoder(settings))

    def work(run: RunSettings, scratch: Path) -> Work:
        return embed_work(images.source, images.manifest, encoder(), scratch)

    decided_by = images.decided_by | {"embed": embedding_identity(settings)}
    return Workload(decided_by, len(shards_of(images.manifest)), work)


def sign_workload(images: Images) -> Workload:
    """Return the workload that signs ``images``."""
    return Workload(
        images.decided_by | {"sign": signature_identity()},
        len(shards_of(images.manifest)),
        lambda run, scratch: sign_work(images.source, images.manifest, scratch),
    )


def search_workload(store: Store, scale: ScaleSettings) -> Workload:
    """Return the workload that searches the first shards of ``store`` exactly.

    They hold at most ``scale.images`` together, but it is one shard at least; the queries are
    sampled from the whole store.
    """
    entries = store.manifest()
    rows = np.cumsum([entry.rows for entry in entries])
    chosen = entries[: max(1, int((rows <= scale.images).sum()))]
    queries = stored_queries(store, sample_ids(store, scale.queries)).vectors
    files = [[entry.shard, entry.checksum] for entry in chosen]
    made = {"embeddings": store.identity, "shards": checksum(json.dumps(files).encode())}
    made |= {"gone": checksum(store.tombstones().tobytes())}
    made |= {"queries": checksum(queries.tobytes())}
    shards = [entry.shard for entry in chosen]
    return Workload(
        {"search": made},
        len(shards),
        lambda run, scratch: search_work(store, shards, queries, scale.k),
    )
