"""`sluice scale`: the same work over a list of worker counts, phase by phase, with laws fitted."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.lab.timed_pool import run_timed
from cluster.shard_map import map_shards
from jobs.cli import with_config_of
from jobs.console import console, print_table
from jobs.lab.config import LabConfig, ScaleConfig
from jobs.sitting import recorded_runs
from pipeline.cascade.shard_signer import signature_identity
from pipeline.core.errors import ConfigError
from pipeline.core.files import checksum, write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.shard_embedder import embedding_identity
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import Source, open_source
from pipeline.lab.scaling.emulated import EmulatedPlan
from pipeline.lab.scaling.own_core import on_own_core
from pipeline.lab.scaling.run import RunSettings, run_row
from pipeline.lab.scaling.summary import fitted_laws, scaling_summary
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

SERIES = ("workload", "mode", "workers")
SHOWN = {
    "seconds, medians; emulated workers sleep": (*SERIES, "start_up", "work", "drain", "merge"),
    "rates": (*SERIES, "efficiency", "speedup", "serial", "cost"),
}
LAW_COLUMNS = ("runs", "rate", "law", "value (95 %)", "error")


@click.command()
@with_config_of(LabConfig)
def command(config: LabConfig) -> None:
    """Time scale.workloads over scale.workers; finished runs are kept, the laws fitted anew."""
    scale(config)


def scale(config: LabConfig) -> None:
    """Run the job: every run of the plan not yet there, then the tables over all of them."""
    cores = os.cpu_count() or 1
    runs, workloads = planned_runs(config.scale, cores), open_workloads(config)
    _refuse_idle_workers(runs, workloads)
    settings = config.scale.model_dump(mode="json", exclude={"output"})
    if set(workloads) != {"emulated"}:
        settings["cores"] = cores
    for workload in workloads.values():
        settings |= workload.decided_by
    store = Store.create(config.scale.output.resolve(), "scaling", settings)
    record = RunRecord("scale", 0, max(config.scale.workers))
    with store.lock():
        done = {entry.shard for entry in store.entries()}
        for number, run in shuffled(runs, config.scale.seed):
            if number not in done:
                console.print(f"{run.name}, {run.images} images")
                with record.stage(f"{run.workload} {run.mode}"):
                    store.write_shard(number, timed_run(workloads[run.workload], run, store.root))
        store.finish(len(runs))
    table = pa.Table.from_pylist(
        [run_row(run, store.read(number)) for number, run in enumerate(runs)]
    )
    laws = fitted_laws(table)
    write_atomically(store.root / "runs.parquet", parquet_bytes(table))
    write_atomically(store.root / "laws.parquet", parquet_bytes(laws))
    if len(done) < len(runs):
        record.save(store.root, recorded_runs(store.root))
    _print(store, table, laws)


def planned_runs(scale: ScaleConfig, cores: int) -> list[RunSettings]:
    """Return all runs: repeats of every workload, mode and worker count, and of one thread.

    Real work is given to at most ``cores`` workers, and has no weak mode.
    """
    runs = []
    for repeat in range(scale.repeats):
        for workload in scale.workloads:
            fake = workload == "emulated"
            counts = [w for w in scale.workers if fake or w <= cores]
            single = RunSettings(workload, "single", 1, repeat, scale.images, fake)
            strong = [
                RunSettings(workload, "strong", w, repeat, scale.images, fake) for w in counts
            ]
            weak = [
                RunSettings(workload, "weak", w, repeat, w * scale.images_a_worker, fake)
                for w in counts
                if fake
            ]
            runs += [single, *strong, *weak]
    return runs


def shuffled(runs: list[RunSettings], seed: int) -> list[tuple[int, RunSettings]]:
    """Return the numbered runs in random order within each repeat, the same for a seed."""
    generator = random.Random(seed)
    return sorted(enumerate(runs), key=lambda item: (item[1].repeat, generator.random()))


@dataclass(frozen=True)
class Workload:
    """One of scale.workloads, opened: its inputs are there and fixed."""

    decided_by: dict[str, Any]  # what decides its runs beside ScaleConfig, part of the store's name
    shards: int  # of a strong-scaling run
    work: Callable[[RunSettings, Path], Work]  # for one run, which may write in the folder


def open_workloads(config: LabConfig) -> dict[str, Workload]:
    """Open the inputs of all scale.workloads, so that what is wrong is told before any run."""
    images = cache(lambda: _images(config))
    openers: dict[str, Callable[[], Workload]] = {
        "emulated": lambda: _emulated(config.scale),
        "embed": lambda: _embed(config, images()),
        "sign": lambda: _sign(images()),
        "search": lambda: _search(config),
    }
    return {name: openers[name]() for name in config.scale.workloads}


def _refuse_idle_workers(runs: list[RunSettings], workloads: dict[str, Workload]) -> None:
    for name, workload in workloads.items():
        counts = [run.workers for run in runs if (run.workload, run.mode) == (name, "strong")]
        if not counts:
            raise ConfigError(
                f"{name} is real work, up to this machine's cores; scale.workers names only more"
            )
        if max(counts) > workload.shards:
            raise ConfigError(
                f"at most scale.images of {name} make {workload.shards} shards, too few for "
                f"{max(counts)} workers; raise it, make smaller shards, or lower scale.workers"
            )


def _emulated(scale: ScaleConfig) -> Workload:
    def work(run: RunSettings, scratch: Path) -> Work:
        plan = EmulatedPlan(
            run.images, scale.shard_images, scale.ms / 1000, scale.queries, scale.k + SPARE
        )
        return emulated_work(plan, scale.k)

    return Workload({}, -(-scale.images // scale.shard_images), work)


@dataclass(frozen=True)
class Images:
    """The images of source.url that the runs read, and what decides which they are."""

    source: Source
    manifest: pa.Table
    decided_by: dict[str, Any]


def _images(config: LabConfig) -> Images:
    source = open_source(config.source.url, config.source.kind)
    manifest = plan_manifest(source, config.source.shard_rows)
    rows = np.cumsum(manifest["rows"].to_numpy())
    manifest = manifest.filter(pa.array(rows <= max(config.scale.images, rows[0])))
    decided_by: dict[str, Any] = {"source": config.source.model_dump(mode="json")}
    decided_by |= {"source_units": checksum(json.dumps(manifest.to_pydict()).encode())}
    return Images(source, manifest, decided_by)


def _embed(config: LabConfig, images: Images) -> Workload:
    settings = encoder_settings(**config.embed.encoder())
    encoder = cache(lambda: build_encoder(settings))

    def work(run: RunSettings, scratch: Path) -> Work:
        return embed_work(images.source, images.manifest, encoder(), scratch)

    decided_by = images.decided_by | {"embed": embedding_identity(settings)}
    return Workload(decided_by, len(shards_of(images.manifest)), work)


def _sign(images: Images) -> Workload:
    return Workload(
        images.decided_by | {"sign": signature_identity()},
        len(shards_of(images.manifest)),
        lambda run, scratch: sign_work(images.source, images.manifest, scratch),
    )


def _search(config: LabConfig) -> Workload:
    store = Store.open(config.embed.output.resolve(), "embeddings")
    entries = store.manifest()
    rows = np.cumsum([entry.rows for entry in entries])
    chosen = entries[: max(1, int((rows <= config.scale.images).sum()))]
    queries = stored_queries(store, sample_ids(store, config.scale.queries)).vectors
    files = [[entry.shard, entry.checksum] for entry in chosen]
    made = {"embeddings": store.identity, "shards": checksum(json.dumps(files).encode())}
    made |= {"gone": checksum(store.tombstones().tobytes())}
    made |= {"queries": checksum(queries.tobytes())}
    shards = [entry.shard for entry in chosen]
    return Workload(
        {"search": made},
        len(shards),
        lambda run, scratch: search_work(store, shards, queries, config.scale.k),
    )


def timed_run(workload: Workload, run: RunSettings, root: Path) -> pa.Table:
    """Do one run, with a folder in ``root`` for what it writes; return its tasks.

    They are as ``run_phases`` takes them.
    """
    scratch = root / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        work = workload.work(run, scratch)
        if run.mode == "single":
            return single_run(work.alone)
        again = partial(map_shards, workers=run.workers)
        start = work.start if run.emulated else on_own_core(work.start, scratch / "cores")
        return run_timed(start, work.shards, run.workers, lambda tables: work.take(tables, again))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def single_run(work: Callable[[], int]) -> pa.Table:
    """Time ``work`` in this process, which returns its images; one task, no worker."""
    began = time.time()
    rows, ended = work(), time.time()
    facts = {"shard": 0, "rows": rows, "worker": "driver", "started": began, "ended": ended}
    facts |= {"received": ended, "merge": 0.0}
    facts |= {"session_began": began, "began": began, "finished": ended}
    return pa.Table.from_pylist([facts])


def _print(store: Store, table: pa.Table, laws: pa.Table) -> None:
    summary = scaling_summary(table)
    for title, shown in SHOWN.items():
        print_table(title, shown, [[row[name] for name in shown] for row in summary])
    told = [row for row in laws.to_pylist() if row["chosen"] is not False]
    if told:
        title = "laws: the best predictor with its held-out error, or all below five worker counts"
        print_table(title, LAW_COLUMNS, [_law_line(row) for row in told])
    console.print(f"all runs: {store.root}/runs.parquet; every task: {store.root}/shards")


def _law_line(row: dict[str, Any]) -> tuple[str, ...]:
    value, low, high = (f"{row[name]:.3g}" for name in ("value", "low", "high"))
    error = "" if row["held_out_error"] is None else f"{row['held_out_error']:.1%}"
    return (
        f"{row['workload']} {row['mode']}",
        row["rate"].removesuffix("_rate"),
        f"{row['law']} {row['parameter']}",
        f"{value} ({low}-{high})",
        error,
    )
