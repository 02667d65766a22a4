"""`sluice lab plan`: the workers, time and money a number of images needs, from measured runs."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from jobs.console import console, print_table
from jobs.lab.config import LabConfig, PlanConfig
from pipeline.core.errors import ConfigError, DeadlineError, InputError
from pipeline.core.forecast import (
    MOST,
    PARTS,
    Shards,
    Stop,
    counted,
    forecast,
    readable,
    stops_helping,
)
from pipeline.core.measured import Measured, read_measured
from pipeline.core.more_workers import WORK, measured_of_run
from pipeline.core.run_record import read_runs
from pipeline.lab.scaling.planning import Offer, cheapest_in_time, doublings, offers

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def command(config: LabConfig) -> None:
    """Say what workers, time and money a number of images needs (extrapolated).

    By your own runs, of sluice lab scale or, with --from, of a job; without any, by those that were
    measured elsewhere. A worker has a machine of its own. Exit code 6: not in time.
    """
    plan(config.plan, config.scale.output.resolve())


def plan(wanted: PlanConfig, scale: Path) -> None:
    """Run the job: print the times and costs by workers, the cheapest in time, where it stops."""
    limit, measured = seconds_of(wanted.deadline), measured_runs(wanted.from_, scale)
    if wanted.images is None:
        raise ConfigError("plan.images is missing: say --images 1M")
    images, ms = round(wanted.images), wanted.ms or _ms(measured)
    shards = Shards(wanted.shards_a_worker)
    pools = [pool for pool in doublings(wanted.most) if pool <= images]

    def at(workers: Sequence[int]) -> pa.Table:
        return forecast(measured.costs, images, ms, workers, shards)

    console.print(
        f"{images:,} images of {ms:.3g} ms, EXTRAPOLATED; {measured.told}", soft_wrap=True
    )
    _print_times(at(pools))
    prices = _prices(wanted)
    if prices:
        _print_costs(at(pools), prices)
    work = WORK.get(measured.workload, "the work")
    stop = stops_helping(measured.costs, images, ms, shards, work, wanted.most)
    best, sure = (cheapest_in_time(at, pools, limit, by) for by in ("seconds", "high"))
    if best:
        _print_best(at([best]), f"the cheapest within {wanted.deadline}", prices)
    if sure and sure != best:
        _print_best(at([sure]), "to the end of its range too", prices)
    _print_stop(stop, wanted.most)
    if measured.costs.off != (0.0, 0.0):
        low, high = measured.costs.off
        console.print(
            f"on runs it was not calibrated from the model was {low:+.0%} to {high:+.0%} off"
        )
    if not best:
        more = cheapest_in_time(at, doublings(min(MOST, images)), limit)
        raise _too_late(at(pools), wanted, "--deadline" if more is None else "--most")


def measured_runs(folder: Path | None, scale: Path) -> Measured:
    """Return what a pool costs: by the run in ``folder``, else those of ``scale``, else shipped.

    Raises InputError where ``folder`` holds no run that workers did.
    """
    if folder is not None:
        found = [m for run in read_runs(folder.resolve()) if (m := measured_of_run(run))]
        if not found:
            raise InputError(
                f"{folder} holds no run.json of a job that did something; name the output of "
                "sluice embed, sign, search, cascade or dedup"
            )
        return max(found, key=lambda one: one.images).measured
    kept = scale / "measured.yaml"
    return read_measured(kept) if kept.exists() else read_measured()


def _ms(measured: Measured) -> float:
    if measured.workload == "emulated":
        raise ConfigError(
            "plan.ms is missing, and workers that slept cannot tell it: say --ms 50, or --from "
            "work/embeddings, the output of a job"
        )
    return measured.ms


def _prices(wanted: PlanConfig) -> list[Offer]:
    spot = wanted.spot_price, wanted.interruptions
    return offers(wanted.price, *spot, wanted.shards_a_worker)


def _print_times(table: pa.Table) -> None:
    header = ("workers", "time", "low to high", *(name.replace("_", "-") for name in PARTS))
    rows = [
        (
            row["workers"],
            readable(row["seconds"]),
            f"{readable(row['low'])} to {readable(row['high'])}",
            *(readable(row[name]) for name in PARTS),
            f"{row['speed_up']:.1f}",
            f"{row['efficiency']:.0%}",
        )
        for row in table.to_pylist()
    ]
    print_table("time by workers", (*header, "speed-up", "speed-up / workers"), rows)


def _print_costs(table: pa.Table, prices: list[Offer]) -> None:
    header = ("workers", *(f"cost, {offer.name}" for offer in prices))
    rows = [
        (row["workers"], *(offer.cost(row).told for offer in prices)) for row in table.to_pylist()
    ]
    print_table("cost, in the unit of the prices", header, rows)
    for offer in prices:
        console.print(f"{offer.name}: {offer.told}")


def _print_best(table: pa.Table, which: str, prices: list[Offer]) -> None:
    row = table.to_pylist()[0]
    pool = counted(row["workers"])
    paid = [f"{offer.cost(row).told} {offer.name}" for offer in prices]
    hours = row["workers"] * row["seconds"] / 3600
    console.print(
        f"{which}: {pool}, {readable(row['seconds'])} "
        f"({readable(row['low'])} to {readable(row['high'])}), "
        + (f"{hours:,.1f}" if hours > 1 else f"{hours:.2g}")
        + " worker-hours"
        + (f", cost {', '.join(paid)}" if paid else ""),
        soft_wrap=True,
    )


def _print_stop(stop: Stop, most: int) -> None:
    if stop.workers is None:
        console.print(stop.reason + ("; --most looks further" if most < MOST else ""))
    else:
        console.print(
            f"past {counted(stop.workers)} ({readable(stop.seconds)}) twice as many shorten it by "
            f"less than a tenth: {stop.reason}",
            soft_wrap=True,
        )


def _too_late(table: pa.Table, wanted: PlanConfig, setting: str) -> DeadlineError:
    fastest = min(table.to_pylist(), key=lambda row: row["seconds"])
    tried = f"the quickest of up to {wanted.most:,} workers takes {readable(fastest['seconds'])}"
    return DeadlineError(f"not within {wanted.deadline}: {tried}; raise {setting}")


def seconds_of(text: str) -> float:
    """Return the seconds of 90s, 10m, 1h30m or 2d. Raises ConfigError for anything else."""
    part = r"(\d+(?:\.\d+)?)\s*([smhd])\s*"
    parts = re.findall(part, text) if re.fullmatch(f"(?:{part})+", text.strip()) else []
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not seconds:
        raise ConfigError(f"plan.deadline {text}: write it as 90s, 10m, 1h30m or 2d")
    return seconds
