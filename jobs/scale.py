"""`sluice scale`: the same work over a list of worker counts, phase by phase, with laws fitted."""

import os
import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.shard_map import ShardFunction
from cluster.timed_pool import run_timed
from jobs.config import Config, ScaleConfig
from jobs.console import console, print_table
from jobs.embed import encoder_settings
from jobs.options import with_config
from jobs.run_record import RunRecord
from pipeline.certified_merge import SPARE, CertifiedMerge
from pipeline.cnn_weights import DIMENSIONS
from pipeline.emulated_embedder import EmulatedPlan
from pipeline.encoder import build_encoder
from pipeline.scaling_run import RunSettings, run_row
from pipeline.scaling_summary import fitted_laws, scaling_summary
from pipeline.shard_embedder import EmbedPlan, embedding_identity
from pipeline.shard_searcher import read_part
from pipeline.single_threaded import embed_single_threaded
from pipeline.source_manifest import open_source, plan_manifest
from pipeline.store import Store, parquet_bytes, write_atomically

SERIES = ("workload", "mode", "workers")
SHOWN = {
    "seconds, medians; emulated workers sleep": (*SERIES, "start_up", "work", "drain", "merge"),
    "rates": (*SERIES, "efficiency", "speedup", "serial", "cost"),
}
LAW_COLUMNS = ("mode", "rate", "law", "parameter", "value", "low", "high", "held_out_error")


@click.command()
@with_config
def command(config: Config) -> None:
    """Time scale.workloads over scale.workers; finished runs are kept, the laws fitted anew."""
    scale(config)


def scale(config: Config) -> None:
    """Run the job: every run of the plan not yet there, then the tables over all of them."""
    runs = planned_runs(config.scale)
    settings = config.scale.model_dump(mode="json", exclude={"output"})
    if "embed" in config.scale.workloads:
        settings |= {"source": config.source.model_dump(mode="json")}
        settings |= {"embed": embedding_identity(encoder_settings(config.embed))}
    store = Store.create(config.scale.output.resolve(), "scaling", settings)
    record = RunRecord("scale", 0, max(config.scale.workers))
    with store.lock():
        done = {entry.shard for entry in store.entries()}
        for number, run in shuffled(runs, config.scale.seed):
            if number not in done:
                console.print(f"{run.name}, {run.images} images")
                with record.stage(f"{run.workload} {run.mode}"):
                    store.write_shard(number, timed_run(config, run))
        store.finish(len(runs))
    table = pa.Table.from_pylist(
        [run_row(run, store.read(number)) for number, run in enumerate(runs)]
    )
    laws = fitted_laws(table)
    write_atomically(store.root / "runs.parquet", parquet_bytes(table))
    write_atomically(store.root / "laws.parquet", parquet_bytes(laws))
    if len(done) < len(runs):
        record.save(store.root, further=True)
    _print(store, table, laws)


def planned_runs(scale: ScaleConfig) -> list[RunSettings]:
    """Return all runs: repeats of every workload, mode and worker count, and of one thread."""
    runs = []
    for repeat in range(scale.repeats):
        for workload in scale.workloads:
            fake = workload == "emulated"
            counts = [w for w in scale.workers if fake or w <= (os.cpu_count() or 1)]
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


def timed_run(config: Config, run: RunSettings) -> pa.Table:
    """Do one run; return its tasks as ``run_phases`` takes them."""
    scratch = config.scale.output.resolve() / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        if run.workload == "emulated":
            return _emulated(config.scale, run)
        return _embedding(config, run, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _emulated(scale: ScaleConfig, run: RunSettings) -> pa.Table:
    plan = EmulatedPlan(
        run.images, scale.shard_images, scale.ms / 1000, scale.queries, scale.k + SPARE
    )
    merge = CertifiedMerge(scale.queries, scale.k)
    if run.mode == "single":
        return single_run(lambda: _sleep_alone(plan, merge))
    return run_timed(
        plan.start, plan.shards, run.workers, lambda table: merge.add(read_part(table))
    )


def _sleep_alone(plan: EmulatedPlan, merge: CertifiedMerge) -> int:
    process = plan.start()
    for shard in plan.shards:
        merge.add(read_part(process(shard)))
    return plan.images


def _embedding(config: Config, run: RunSettings, scratch: Any) -> pa.Table:
    source = open_source(config.source.url, config.source.kind)
    manifest = plan_manifest(source, config.source.shard_rows)
    rows = np.cumsum(manifest["rows"].to_numpy())
    manifest = manifest.filter(pa.array(rows <= max(run.images, rows[0])))
    settings = encoder_settings(config.embed)
    encoder = build_encoder(settings)
    if run.mode == "single":
        return single_run(
            lambda: embed_single_threaded(source, manifest, encoder, scratch / "all.parquet")
        )
    Store.create(scratch, "embeddings", embedding_identity(settings))
    plan = EmbedPlan(source, manifest, scratch, encoder, DIMENSIONS[settings.model])
    make: Callable[[], ShardFunction] = plan.start
    shards = sorted(set(manifest["shard"].to_pylist()))
    return run_timed(make, shards, run.workers, lambda table: None)


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
    chosen = [row for row in laws.to_pylist() if row["chosen"]]
    if chosen:
        title = "laws that predicted best, with their 95 % intervals"
        print_table(title, LAW_COLUMNS, [[row[name] for name in LAW_COLUMNS] for row in chosen])
    console.print(f"all runs: {store.root}/runs.parquet; every task: {store.root}/shards")
