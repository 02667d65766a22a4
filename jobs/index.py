"""`sluice index`: a grid over the embeddings, and every vector in its bucket."""

import numpy as np

from jobs.config import Config, IndexConfig
from jobs.console import print_table
from jobs.sitting import Sitting
from pipeline.core.errors import InputError
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.index.grid import Grid
from pipeline.index.probes import bucket_sizes, calibrate_probes, calibrated_images
from pipeline.index.shard_indexer import IndexPlan
from pipeline.index.training import index_identity, trained_grid


def command(config: Config) -> None:
    """Sort the embeddings into the buckets of a grid, for quick searches.

    Finished shards are skipped.
    """
    if config.index.add and not (config.index.output / "store.json").exists():
        raise InputError(f"{config.index.output} holds no index to add to; leave --add out")
    index(config)


def index(config: Config) -> None:
    """Run the job: train the grid where there is none, index the new shards, calibrate."""
    made = config.index
    source = Store.open(config.embed.output.resolve(), "embeddings")
    store = Store.create(made.output.resolve(), "index", index_identity(source, **made.identity()))
    there = source.manifest()
    with store.lock(), Sitting("index", 0, config.ray, store.root, further=True) as sitting:
        done = {entry.shard for entry in store.entries()}
        pending = [entry for entry in there if entry.shard not in done]
        rows = sum(entry.rows for entry in there)
        if pending or calibrated_images(store) != rows:
            sitting.record.images = sum(entry.rows for entry in pending)
            grid = _grid(made, store, source, sitting)
            plan = IndexPlan(source.root, store.root, grid, made.vectors)
            sitting.fill(plan, [entry.shard for entry in pending])
            alone = Sitting("calibrate", source.images(), config.ray)
            with sitting.stage("calibrate"), alone:
                queries, k = made.calibration_queries, made.calibration_k
                calibrate_probes(store, source, grid, queries, k, alone.spread)
        store.finish(len(there))
    _print(made, store, len(done), sitting.record)


def _grid(made: IndexConfig, store: Store, source: Store, sitting: Sitting) -> Grid:
    grid_from = made.grid_from and Store.open(made.grid_from.resolve(), "index")
    with sitting.stage("train the grid"):
        return trained_grid(
            store, source, made.grid, made.buckets, made.sample, made.seed, grid_from or None
        )


def _print(made: IndexConfig, store: Store, earlier: int, record: RunRecord) -> None:
    entries, grid = store.manifest(), Grid.required(store)
    filled = bucket_sizes(store, grid.buckets)
    rows = [
        ("vectors", sum(entry.rows for entry in entries)),
        ("grid", f"{made.grid}, {grid.buckets:,} buckets"),
        ("rows in the middle bucket", int(np.median(filled))),
        ("rows in the largest bucket", int(filled.max())),
        ("empty buckets", int((filled == 0).sum())),
        ("stored as", made.vectors),
        ("bytes", sum(entry.bytes for entry in entries)),
        ("shards", len(entries)),
        ("shards finished by earlier runs", earlier),
        ("vectors/s, workers at work", record.rate),
    ]
    print_table(f"index: {store.root}", ("what", "value"), rows)
