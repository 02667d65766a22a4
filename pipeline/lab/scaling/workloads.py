"""The work that can be scaled, opened once: its inputs are there, and named in the store's name."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cascade.shard_signer import signature_identity
from pipeline.core.entries import ShardEntry
from pipeline.core.files import checksum
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import Listed, Source
from pipeline.index.ivf import train_ivf
from pipeline.index.partitions import Partitions
from pipeline.index.sort_shard import sort_shards
from pipeline.index.vector_sample import sample_vectors
from pipeline.lab.scaling.emulated import EmulatedPlan
from pipeline.lab.scaling.run import RunSettings
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.work import (
    Work,
    embed_work,
    emulated_work,
    join_work,
    search_work,
    shards_of,
    sign_work,
)
from pipeline.search.merge import SPARE
from pipeline.search.queries import sample_ids, stored_queries

PARTITIONS, ASSIGNMENTS, SAMPLE = 32, 3, 64  # of a join; vectors a bucket to train it on


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
    plan: Callable[[], object]  # as a job plans its source, all of it


def choose_images(
    lister: Callable[[], Listed], shard_rows: int, most: int, named: Mapping[str, Any]
) -> Images:
    """Return the first whole shards of a source, of at most ``most`` images together.

    It is one shard at least. ``named`` is how the source was asked for. Raises InputError where it
    cannot be used.
    """
    listed = lister()
    manifest = plan_manifest(listed, shard_rows).manifest
    every = pc.sum(manifest["rows"]).as_py()  # None of tars
    rows = np.cumsum(pc.fill_null(manifest["rows"], shard_rows).to_numpy())  # a tar's are unknown
    manifest = manifest.filter(pa.array(rows <= max(most, rows[0])))
    decided_by: dict[str, Any] = {"source": dict(named)}
    decided_by |= {"source_images": every}
    decided_by |= {"source_units": checksum(json.dumps(manifest.to_pydict()).encode())}

    def plan() -> None:
        plan_manifest(lister(), shard_rows)

    return Images(listed.source, manifest, decided_by, plan)


def embed_workload(images: Images, settings: EncoderSettings) -> Workload:
    """Return the workload that embeds ``images``; the encoder is built with the first run."""
    encoder = cache(lambda: build_encoder(settings))

    def work(run: RunSettings, scratch: Path) -> Work:
        return embed_work(images.source, images.manifest, encoder(), scratch, images.plan)

    decided_by = images.decided_by | {"embed": embedding_identity(settings)}
    return Workload(decided_by, len(shards_of(images.manifest)), work)


def sign_workload(images: Images) -> Workload:
    """Return the workload that signs ``images``."""
    return Workload(
        images.decided_by | {"sign": signature_identity()},
        len(shards_of(images.manifest)),
        lambda run, scratch: sign_work(images.source, images.manifest, scratch, images.plan),
    )


def search_workload(store: Store, scale: ScaleSettings) -> Workload:
    """Return the workload that searches the first shards of ``store`` exactly.

    They hold at most ``scale.images`` together, but it is one shard at least; the queries are
    sampled from the whole store.
    """
    chosen = _first_shards(store, scale.images)
    queries = stored_queries(store, sample_ids(store, scale.queries)).vectors
    made = _embeddings(store, chosen)
    made |= {"gone": checksum(store.tombstones().tobytes())}
    made |= {"queries": checksum(queries.tobytes())}
    shards = [entry.shard for entry in chosen]
    return Workload(
        {"search": made},
        len(shards),
        lambda run, scratch: search_work(store, shards, queries, scale.k, scratch),
    )


def join_workload(store: Store, scale: ScaleSettings, similarity: float, root: Path) -> Workload:
    """Return the workload that finds all pairs among the first shards of ``store``.

    They hold at most ``scale.images`` together, but it is one shard at least. They are sorted by
    partition here, in ``root``, once: what is timed is the join.
    """
    chosen = _first_shards(store, scale.images)
    images = sum(entry.rows for entry in chosen)
    buckets = max(1, isqrt(images))
    sample = sample_vectors(store, buckets * SAMPLE)
    grid = train_ivf(sample, buckets, scale.seed)
    partitions = Partitions(grid, min(PARTITIONS, grid.buckets)).with_shards(len(chosen))
    made = _embeddings(store, chosen) | {"similarity": similarity, "partitions": partitions.count}
    parts = Store.create(root / "sorted", "partitions", made)
    numbers = [entry.shard for entry in chosen]
    sort_shards(in_process, store, parts, partitions, ASSIGNMENTS, numbers)
    return Workload(
        {"join": made},
        partitions.parts,
        lambda run, scratch: join_work(store, parts, partitions, similarity, scratch),
    )


def _first_shards(store: Store, images: int) -> list[ShardEntry]:
    entries = store.manifest()
    rows = np.cumsum([entry.rows for entry in entries])
    return entries[: max(1, int((rows <= images).sum()))]


def _embeddings(store: Store, chosen: Sequence[ShardEntry]) -> dict[str, Any]:
    files = [[entry.shard, entry.checksum] for entry in chosen]
    return {"embeddings": store.identity, "shards": checksum(json.dumps(files).encode())}
