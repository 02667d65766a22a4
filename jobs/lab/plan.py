"""`sluice plan`: the workers, time and money that a number of images needs, from measured runs."""

import os
import re

import click
import numpy as np
import pyarrow as pa

from jobs.cli import with_config_of
from jobs.console import console, print_table
from jobs.lab.config import LabConfig
from jobs.lab.scale import planned_runs
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.lab.scaling.run import RunSettings
from pipeline.lab.scaling.simulator import (
    Calibration,
    calibrate,
    cheapest_in_time,
    doublings,
    money_buys_nothing,
    planner,
    simulation_error,
)

UNITS = {"s": 1, "m": 60, "h": 3600}


@click.command()
@click.option("--images", type=float, required=True, help="How many, as 1000000 or 1e6.")
@click.option("--ms", type=float, required=True, help="Milliseconds of a worker an image takes.")
@click.option("--deadline", default="1h", show_default=True, help="As 90s, 10m or 2h.")
@click.option("--price", type=float, required=True, help="Of one worker for one hour.")
@click.option("--most", type=click.IntRange(1, 10_000), default=1024, show_default=True)
@click.option("--shards-a-worker", type=click.IntRange(1, 100), default=4, show_default=True)
@with_config_of(LabConfig)
def command(
    config: LabConfig,
    images: float,
    ms: float,
    deadline: str,
    price: float,
    most: int,
    shards_a_worker: int,
) -> None:
    """Simulate up to --most workers, one a machine, calibrated from the runs of `sluice scale`."""
    if not 1 <= images <= 1e12 or ms <= 0 or price < 0:
        raise ConfigError("--images must be 1 to 1e12, --ms above 0, --price 0 or more")
    limit = seconds_of(deadline)
    calibration, errors = calibrated(config)
    at = planner(calibration, round(images), ms, price, shards_a_worker)
    plans = [at(workers) for workers in doublings(most)]
    best, last = cheapest_in_time(plans, limit, at), money_buys_nothing(plans)
    rows = [(one.workers, one.seconds, one.cost) for one in plans]
    title = f"{round(images)} images of {ms:g} ms, EXTRAPOLATED by simulation"
    print_table(title, ("workers", "seconds", "cost"), rows)
    if best:
        console.print(
            f"the cheapest within {deadline}: {best.workers} workers, {best.seconds:,.0f} s, "
            f"cost {best.cost:,.2f}"
        )
    else:
        console.print(
            f"no number of workers up to {most} is done within {deadline}; "
            "raise --deadline or --most"
        )
    console.print(f"past {last.workers} workers ({last.seconds:,.0f} s) money buys nothing")
    if last.workers == plans[-1].workers:
        console.print("that is the most tried: raise --most to see further")
    if errors:
        told = ", ".join(f"{workers} workers {error:+.1%}" for workers, error in errors)
        console.print(f"simulated against measured wall time, on runs not calibrated from: {told}")


def calibrated(config: LabConfig) -> tuple[Calibration, list[tuple[int, float]]]:
    """Return the model of the emulated runs on the lower half of worker counts, and its errors.

    The errors are of the median run at each of the other counts. Raises InputError where
    ``sluice scale`` has left no runs.
    """
    folder = config.scale.output.resolve()
    if not (folder / "manifest.json").exists():
        raise InputError(
            f"there are no finished runs in {folder}; run sluice scale with the same settings, "
            "or name its folder in scale.output"
        )
    store = Store.open(folder, "scaling")
    made = {name: store.identity[name] for name in config.scale.model_fields if name != "output"}
    cores = store.identity.get("cores", os.cpu_count() or 1)
    runs = planned_runs(type(config.scale).model_validate(made), cores)
    mine = [
        (run, store.read(number))
        for number, run in enumerate(runs)
        if run.emulated and run.mode != "single"
    ]
    if not mine:
        raise InputError(f"{folder} holds no emulated runs; add emulated to scale.workloads")
    counts = sorted({run.workers for run, _ in mine})
    known = counts[: (len(counts) + 1) // 2]
    costs = calibrate([tasks for run, tasks in mine if run.workers in known])
    errors = [(count, _error(costs, mine, count)) for count in counts if count not in known]
    return costs, errors


def _error(costs: Calibration, runs: list[tuple[RunSettings, pa.Table]], count: int) -> float:
    return float(
        np.median([simulation_error(costs, t, count) for run, t in runs if run.workers == count])
    )


def seconds_of(text: str) -> float:
    """Return the seconds of 90s, 10m or 2h. Raises ConfigError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found:
        raise ConfigError(f"--deadline {text}: write it as 90s, 10m or 2h")
    return float(found[1]) * UNITS[found[2]]
