"""`sluice lab scale`: the same work over a list of worker counts, by phases, with laws fitted."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pyarrow as pa

from cluster.lab.timed_pool import run_timed
from jobs.console import console, print_table
from jobs.lab.config import LabConfig
from jobs.sitting import recorded_runs
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.shard_rows import MOST
from pipeline.images.source import list_source
from pipeline.lab.scaling.experiment import Experiment, timed_run
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.summary import fitted_laws, scaling_summary
from pipeline.lab.scaling.workloads import (
    Images,
    Workload,
    choose_images,
    embed_workload,
    emulated_workload,
    search_workload,
    sign_workload,
)

SERIES = ("workload", "mode", "workers")
SHOWN = {
    "seconds, medians; emulated workers sleep": (*SERIES, "start_up", "work", "drain", "merge"),
    "rates": (*SERIES, "efficiency", "speedup", "serial", "cost"),
}
LAW_COLUMNS = ("runs", "rate", "law", "value (95 %)", "error")


def command(config: LabConfig) -> None:
    """Time the same work over a list of worker counts, and fit the laws of scaling.

    Finished runs are kept, the laws fitted anew.
    """
    scale(config)


def scale(config: LabConfig) -> None:
    """Run the job: every run of the plan not yet there, then the tables over all of them."""
    settings = config.scale.settings()
    workloads = open_workloads(config, settings)
    output, cores = config.scale.output.resolve(), os.cpu_count() or 1
    experiment = Experiment.create(output, settings, workloads, cores)
    record, store = RunRecord("scale", 0, max(settings.workers)), experiment.store
    with store.lock():
        left = experiment.left(settings.seed)
        for number, run in left:
            console.print(f"{run.name}, {run.images} images")
            with record.stage(f"{run.workload} {run.mode}"):
                tasks = timed_run(workloads[run.workload], run, output, run_timed)
                store.write_shard(number, tasks)
        store.finish(len(experiment.runs))
    table = experiment.table()
    laws = fitted_laws(table)
    write_atomically(output / "runs.parquet", parquet_bytes(table))
    write_atomically(output / "laws.parquet", parquet_bytes(laws))
    if left:
        record.save(output, recorded_runs(output))
    _print(table, laws)
    console.print(f"all runs: {output}/runs.parquet; every task: {output}/shards")


def open_workloads(config: LabConfig, settings: ScaleSettings) -> dict[str, Workload]:
    """Open the inputs of all scale.workloads, so that what is wrong is told before any run."""
    asked = config.source

    @cache
    def images() -> Images:
        listed = list_source(**asked.asked())
        named = asked.model_dump(mode="json")
        return choose_images(listed, asked.shard_rows or MOST, settings.images, named)

    openers: dict[str, Callable[[], Workload]] = {
        "emulated": lambda: emulated_workload(settings),
        "embed": lambda: embed_workload(images(), encoder_settings(**config.embed.encoder())),
        "sign": lambda: sign_workload(images()),
        "search": lambda: search_workload(
            Store.open(config.embed.output.resolve(), "embeddings"), settings
        ),
    }
    return {name: openers[name]() for name in settings.workloads}


def _print(table: pa.Table, laws: pa.Table) -> None:
    summary = scaling_summary(table)
    for title, shown in SHOWN.items():
        print_table(title, shown, [[row[name] for name in shown] for row in summary])
    told = [row for row in laws.to_pylist() if row["chosen"] is not False]
    if told:
        title = "laws: the best predictor with its held-out error, or all below five worker counts"
        print_table(title, LAW_COLUMNS, [_law_line(row) for row in told])


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
