"""`sluice index`: a grid over the embeddings, and every vector in its bucket."""

import numpy as np

from jobs.config import Config, IndexConfig
from jobs.console import print_table
from jobs.sitting import Sitting
from pipeline.core.errors import InputError
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.index.build import (
    bucket_sizes,
    calibrate,
    drop_sorted,
    gather_parts,
    index_partitions,
    sorted_shards,
    stored_bytes,
)
from pipeline.index.evidence import evidence_holds
from pipeline.index.grid import Grid
from pipeline.index.layout import refuse_other_layout
from pipeline.index.partitions import Partitions
from pipeline.index.sort_shard import sort_shards
from pipeline.index.training import (
    index_identity,
    trained_grid,
    trained_shards,
)


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
    root = made.output.resolve()
    if (root / "store.json").exists():
        refuse_other_layout(Store.open(root, "index"))
    store = Store.create(root, "index", index_identity(source, **made.identity()))
    with store.lock(), Sitting("index", 0, config.ray, store.root, further=True) as sitting:
        partitions = index_partitions(store, source, _grid(made, store, source, sitting))
        earlier = len(store.entries())
        _gather(store, source, partitions, sitting)
        drop_sorted(store)
        if not evidence_holds(store, source.rows(), source.images()):
            alone = Sitting("calibrate", source.images(), config.ray)
            with sitting.stage("calibrate"), alone:
                asked = (made.calibration_queries, made.calibration_k, config.search.confidence)
                # It is some ten short passes, and the workers of each start anew.
                spread = alone.spreading(source.images(), here=partitions.parts == 1)
                calibrate(store, source, partitions, *asked, spread)
        store.finish(partitions.parts)
    _print(made, store, source, partitions, earlier, sitting.record)


def _gather(store: Store, source: Store, partitions: Partitions, sitting: Sitting) -> None:
    pending = partitions.missing(store)
    if not pending:
        return
    shards, by_partition = partitions.new_shards(pending), sorted_shards(store)
    rows = sum(entry.rows for entry in source.manifest() if entry.shard in shards)
    sitting.record.images = rows
    with sitting.stage("sort by partition"), Sitting("sort", rows, sitting.ray) as alone:
        sort_shards(alone.spread, source, by_partition, partitions, 1, shards)
    gather_parts(sitting.spread, store, by_partition, partitions, pending)


def _grid(made: IndexConfig, store: Store, source: Store, sitting: Sitting) -> Grid:
    grid_from = made.grid_from and Store.open(made.grid_from.resolve(), "index")
    with sitting.stage("train the grid"):
        return trained_grid(
            store, source, made.grid, made.buckets, made.sample, made.seed, grid_from or None
        )


def _print(
    made: IndexConfig,
    store: Store,
    source: Store,
    partitions: Partitions,
    earlier: int,
    record: RunRecord,
) -> None:
    filled = bucket_sizes(store, partitions.grid.buckets)
    added = sum(entry.rows for entry in source.manifest()[trained_shards(store) :])
    rows = [
        ("vectors", int(filled.sum())),
        ("vectors added since the grid was trained", added),
        ("grid", f"{made.grid}, {partitions.grid.buckets:,} buckets"),
        ("rows in the middle bucket", int(np.median(filled))),
        ("rows in the largest bucket", int(filled.max())),
        ("empty buckets", int((filled == 0).sum())),
        ("bytes", stored_bytes(store, partitions)),
        ("parts", partitions.parts),
        ("parts finished by earlier runs", earlier),
        ("vectors/s, workers at work", record.rate),
    ]
    print_table(f"index: {store.root}", ("what", "value"), rows)
