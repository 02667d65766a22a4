"""`sluice lab scale`: the same work over a list of worker counts, by phases, with laws fitted."""

import os
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from statistics import mean
from typing import Any

import pyarrow as pa

from cluster.lab.timed_pool import run_timed
from jobs.console import console, errors, print_table
from jobs.lab.config import LabConfig
from jobs.sitting import recorded_runs
from pipeline.core.files import write_atomically
from pipeline.core.forecast import counted, readable
from pipeline.core.measured import SCALE, measured_here, write_measured
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.shard_rows import MOST
from pipeline.images.source import list_source
from pipeline.lab.scaling.experiment import Experiment, timed_run
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.summary import fitted_laws, scaling_summary, unfitted_laws
from pipeline.lab.scaling.workloads import (
    Images,
    Workload,
    choose_images,
    embed_workload,
    emulated_workload,
    join_workload,
    search_workload,
    sign_workload,
)

SERIES = ("workload", "mode", "workers")
SECONDS = ("planning", "start_up", "work", "drain", "merge", "writing", "wall")
EFFICIENCIES = ("steady_efficiency", "efficiency")
RATE_COLUMNS = (
    "runs",
    "speed-up",
    "steady efficiency",
    "speed-up / workers",
    "serial, measured",
    "serial, inferred",
    "beats one thread from",
)
LAW_COLUMNS = ("runs", "rate", "law", "value", "95 %", "held-out error")


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
        every, taken = len(experiment.runs), list[tuple[bool, float]]()
        for number, run in left:
            began, to_come = time.monotonic(), left[len(taken) :]
            to_go = time_left(taken, [other.alone for _, other in to_come])
            place = f"run {every - len(to_come) + 1} of {every}{to_go}"
            errors.print(f"{place}: {run.name}, {run.images:,} images")
            with record.stage(f"{run.workload} {run.mode}"):
                tasks = timed_run(workloads[run.workload], run, output, run_timed)
                store.write_shard(number, tasks)
            taken.append((run.alone, time.monotonic() - began))
        store.finish(len(experiment.runs))
    table = experiment.table()
    laws = fitted_laws(table)
    write_atomically(output / "runs.parquet", parquet_bytes(table))
    write_atomically(output / "laws.parquet", parquet_bytes(laws))
    found = experiment.calibrated()
    measured = measured_here(found.workload, found.costs, found.ms, SCALE)
    write_measured(output / "measured.yaml", measured)
    if left:
        record.save(output, recorded_runs(output))
    _print(table, laws)
    console.print(f"all runs: {output}/runs.parquet; every task: {output}/shards")


def open_workloads(config: LabConfig, settings: ScaleSettings) -> dict[str, Workload]:
    """Open the inputs of all scale.workloads, so that what is wrong is told before any run."""
    asked = config.source

    @cache
    def images() -> Images:
        named = asked.model_dump(mode="json")
        lister = partial(list_source, **asked.asked())
        return choose_images(lister, asked.shard_rows or MOST, settings.images, named)

    def embeddings() -> Store:
        return Store.open(config.embed.output.resolve(), "embeddings")

    openers: dict[str, Callable[[], Workload]] = {
        "emulated": lambda: emulated_workload(settings),
        "embed": lambda: embed_workload(images(), encoder_settings(**config.embed.encoder())),
        "sign": lambda: sign_workload(images()),
        "search": lambda: search_workload(embeddings(), settings),
        "join": lambda: join_workload(
            embeddings(), settings, config.dedup.cosine, config.scale.output.resolve()
        ),
    }
    return {name: openers[name]() for name in settings.workloads}


def time_left(taken: Sequence[tuple[bool, float]], to_come: Sequence[bool]) -> str:
    """Return the time to come in words; nothing where no run tells of it yet.

    taken: the runs of this sitting, whether they were of one thread alone, and their seconds.
    to_come: whether those are. Both kinds come in random order, so that each takes about as long
    as those of its kind did.
    """
    means = {
        alone: mean(seconds)
        for alone in (True, False)
        if (seconds := [spent for kind, spent in taken if kind == alone])
    }
    if not set(to_come) <= set(means):
        return ""
    return f", {readable(sum(means[alone] for alone in to_come))} to go"


def _print(table: pa.Table, laws: pa.Table) -> None:
    summary = scaling_summary(table)
    lines = [[_series(row), *(readable(row[name]) for name in SECONDS)] for row in summary]
    names = [name.replace("_", "-") for name in SECONDS]
    print_table("seconds, medians; emulated workers sleep", ("runs", *names), lines)
    print_table("of the whole run, but for the steady rate", RATE_COLUMNS, map(_rates, summary))
    told = [row for row in laws.to_pylist() if row["chosen"] is not False]
    if told:
        title = "laws: the best predictor with its held-out error, or all below five worker counts"
        print_table(title, LAW_COLUMNS, map(_law_line, told))
    for workload, mode, counts, lacking in unfitted_laws(table):
        needed = ", ".join(f"{law} takes {least}" for law, least in lacking.items())
        console.print(f"{workload} {mode}: not enough worker counts ({counts}): {needed}")


def _series(row: dict[str, Any]) -> str:
    return f"{row['workload']} {row['mode']}, {counted(row['workers'])}"


def _rates(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        _series(row),
        f"{row['speed_up']:.2f}",
        *(f"{row[name]:.1%}" for name in EFFICIENCIES),
        f"{row['serial_measured']:.1%}" if row["serial_measured"] <= 1 else "over 100 %",
        _inferred(row["serial_inferred"]),
        counted(row["cost_workers"]) if row["cost_workers"] else "no count measured",
    )


def _inferred(serial: float | None) -> str:
    """A run slower than one worker's, or faster than so many times it, has no serial share."""
    if serial is None:
        return ""
    if serial > 1:
        return "none: slower than one"
    return f"{serial:.1%}" if serial >= 0 else "none: faster than linear"


def _law_line(row: dict[str, Any]) -> tuple[str, ...]:
    unit = " images/s" if row["parameter"] == "rate" else ""
    interval = "none" if row["low"] is None else f"{row['low']:.3g} to {row['high']:.3g}{unit}"
    return (
        f"{row['workload']} {row['mode']}",
        row["rate"].removesuffix("_rate"),
        f"{row['law']}: {row['parameter']}",
        f"{round(row['value'], 6):.3g}{unit}",
        interval,
        "" if row["held_out_error"] is None else f"{row['held_out_error']:.1%}",
    )
