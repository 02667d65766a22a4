"""`sluice lab plan`: the workers, time and money a number of images needs, from measured runs."""

import re

from jobs.console import console, print_table
from jobs.lab.config import LabConfig, PlanConfig
from pipeline.core.errors import ConfigError
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.scaling.simulator import (
    Plan,
    cheapest_in_time,
    doublings,
    money_buys_nothing,
    planner,
)

UNITS = {"s": 1, "m": 60, "h": 3600}


def command(config: LabConfig) -> None:
    """Say what workers, time and money a number of images needs (extrapolated).

    Simulates ever more workers, one a machine, calibrated from the runs of sluice lab scale.
    """
    wanted, limit = config.plan, seconds_of(config.plan.deadline)
    images, ms, price = (_given(wanted, name) for name in ("images", "ms", "price"))
    calibrated = Experiment.of(config.scale.output.resolve()).calibrated()
    at = planner(calibrated.costs, round(images), ms, price, wanted.shards_a_worker)
    plans = [at(workers) for workers in doublings(wanted.most)]
    rows = [(one.workers, one.seconds, one.cost) for one in plans]
    title = f"{round(images)} images of {ms:g} ms, EXTRAPOLATED by simulation"
    print_table(title, ("workers", "seconds", "cost"), rows)
    _print(cheapest_in_time(plans, limit, at), plans, wanted.deadline)
    if calibrated.errors:
        told = ", ".join(f"{workers} workers {error:+.1%}" for workers, error in calibrated.errors)
        console.print(f"simulated against measured wall time, on runs not calibrated from: {told}")


def _given(wanted: PlanConfig, name: str) -> float:
    value: float | None = getattr(wanted, name)
    if value is None:
        raise ConfigError(f"plan.{name} is missing: say --images, --ms and --price")
    return value


def _print(best: Plan | None, plans: list[Plan], deadline: str) -> None:
    most, last = plans[-1].workers, money_buys_nothing(plans)
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
    if last.workers == most:
        console.print("that is the most tried: raise --most to see further")


def seconds_of(text: str) -> float:
    """Return the seconds of 90s, 10m or 2h. Raises ConfigError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found:
        raise ConfigError(f"plan.deadline {text}: write it as 90s, 10m or 2h")
    return float(found[1]) * UNITS[found[2]]
