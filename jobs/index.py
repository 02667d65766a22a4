"""`sluice index`: a grid over the embeddings, and every vector in its bucket."""

from math import isqrt
from typing import Any

import click
import numpy as np

from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table, track
from jobs.search import search_shards
from pipeline.core.errors import StoreError
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.index.grid import Grid
from pipeline.index.probes import (
    attach_calibration,
    bucket_sizes,
    buckets_of,
    calibrated_images,
    neighbour_places,
)
from pipeline.index.shard_indexer import IndexPlan
from pipeline.index.training import TRAINERS
from pipeline.index.vector_sample import sample_vectors
from pipeline.search.answers import without_self
from pipeline.search.queries import sample_ids, stored_queries


@click.command()
@click.option("--add", is_flag=True, help="Only add new shards: the index must be there.")
@with_config
def command(config: Config, add: bool) -> None:
    """Sort embed.output into buckets in index.output; finished shards are skipped."""
    if add and not (config.index.output / "store.json").exists():
        raise StoreError(f"{config.index.output} holds no index to add to; leave --add out")
    index(config)


def index(config: Config) -> None:
    """Run the job: train the grid where there is none, index the new shards, calibrate."""
    source = Store.open(config.embed.output.resolve(), "embeddings")
    store = Store.create(config.index.output.resolve(), "index", index_identity(config, source))
    wanted = [entry.shard for entry in source.manifest()]
    record = RunRecord("index", 0, config.ray.workers)
    with store.lock():
        done = {entry.shard for entry in store.entries()}
        pending = [shard for shard in wanted if shard not in done]
        if pending or calibrated_images(store) != sum(e.rows for e in source.manifest()):
            try:
                with ray_session(config.ray.workers, config.ray.address):
                    grid = trained_grid(config, store, source, record)
                    _index_shards(config, source, store, grid, pending, record)
                    _calibrate(config, source, store, grid, record)
            finally:
                record.save(store.root, further=True)
        entries = store.finish(len(wanted))
    grid = Grid.required(store)
    filled = bucket_sizes(store, grid.buckets)
    rows = [
        ("vectors", sum(entry.rows for entry in entries)),
        ("grid", f"{config.index.grid}, {grid.buckets:,} buckets"),
        ("rows in the middle bucket", int(np.median(filled))),
        ("rows in the largest bucket", int(filled.max())),
        ("empty buckets", int((filled == 0).sum())),
        ("stored as", config.index.vectors),
        ("bytes", sum(entry.bytes for entry in entries)),
        ("shards", len(entries)),
        ("shards finished by earlier runs", len(done)),
        ("vectors/s, workers at work", record.rate),
    ]
    print_table(f"index: {store.root}", ("what", "value"), rows)


def index_identity(config: Config, source: Store) -> dict[str, Any]:
    """Return what decides an index's bytes, beside the embeddings added to it."""
    made = config.index
    return {
        "embeddings": source.identity,
        "first_shard": source.manifest()[0].checksum,
        "grid": made.grid,
        "buckets": made.buckets,
        "sample": made.sample,
        "seed": made.seed,
        "vectors": made.vectors,
        "calibration": [made.calibration_queries, made.calibration_k],
    }


def trained_grid(config: Config, store: Store, source: Store, record: RunRecord) -> Grid:
    """Return the store's grid, trained and attached the first time.

    It depends on the embeddings that were there then, and never changes when others are added: a
    rebuild of the grown collection gives the same index if it takes this grid over.
    """
    known = Grid.attached(store)
    if known is not None:
        return known
    with record.stage("train the grid"):
        if config.index.grid_from is not None:
            grid = Grid.required(Store.open(config.index.grid_from.resolve(), "index"))
        else:
            buckets = config.index.buckets or max(1, isqrt(source.images()))
            sample = sample_vectors(source, buckets * config.index.sample)
            grid = TRAINERS[config.index.grid](sample, buckets, config.index.seed)
        grid.attach(store)
    return grid


def _index_shards(
    config: Config, source: Store, store: Store, grid: Grid, shards: list[int], record: RunRecord
) -> None:
    plan = IndexPlan(source.root, store.root, grid, config.index.vectors)
    rows = {entry.shard: entry.rows for entry in source.manifest()}
    record.images = sum(rows[shard] for shard in shards)
    with record.pool() as stats:
        results = map_shards(plan.start, shards, config.ray.workers)
        stats.extend(track(results, "index", record.images, "img"))


def _calibrate(config: Config, source: Store, store: Store, grid: Grid, record: RunRecord) -> None:
    """Attach the places of the true neighbours' buckets, for images sampled as queries."""
    k = config.index.calibration_k
    with record.stage("calibrate"):
        ids = sample_ids(source, config.index.calibration_queries)
        queries = stored_queries(source, ids)
        wanted = config.search.model_copy(update={"k": k})
        exact = config.model_copy(update={"search": wanted})
        merged = search_shards(exact, source, queries, RunRecord("calibrate", source.images(), 1))
        found, _ = without_self(queries.ids, merged, k)
        places = neighbour_places(grid, queries.vectors, buckets_of(store, found))
        attach_calibration(store, places, sum(entry.rows for entry in source.manifest()))
