import re

import pytest

from jobs.lab.plan import seconds_of
from pipeline.core.errors import ConfigError, InputError
from tests.helpers.command_line import run

ASKED = {"images": "1e5", "ms": "50", "price": "0.2"}


def plan(runs, *more, asked=ASKED):
    flags = [f"--{name}={value}" for name, value in asked.items()]
    return run("lab", "plan", f"--set=scale.output={runs}", *flags, "--most=64", *more)


def test_a_plan_from_measured_runs(measured):
    ran = plan(measured, "--deadline=10m")
    assert ran.exception is None
    assert "EXTRAPOLATED" in ran.output
    told = " ".join(ran.output.split())
    cheapest = re.search(r"the cheapest within 10m: (\d+) workers", told)
    assert cheapest is not None
    assert 8 < int(cheapest[1]) < 16
    assert "money buys nothing" in told
    assert "8 workers" in told.split("not calibrated from:")[1]
    late = plan(measured, "--deadline=1s")
    assert "no number of workers up to 64" in " ".join(late.output.split())


def test_runs_made_before_a_setting_was_added_are_read_with_its_default(measured, measured_before):
    now, before = (plan(folder) for folder in (measured, measured_before))
    assert before.exception is None
    assert before.output == now.output


def test_without_runs_it_says_what_to_do(tmp_path):
    ran = plan(tmp_path)
    assert isinstance(ran.exception, InputError)
    assert "run sluice lab scale" in str(ran.exception)


@pytest.mark.parametrize("name", ASKED)
def test_what_is_not_said_is_told(measured, name):
    ran = plan(measured, asked={other: ASKED[other] for other in ASKED if other != name})
    assert isinstance(ran.exception, ConfigError)
    assert f"plan.{name} is missing" in str(ran.exception)


def test_deadlines():
    assert [seconds_of(text) for text in ("90s", "10m", "2h", "1.5h")] == [90, 600, 7200, 5400]
    with pytest.raises(ConfigError, match="10m"):
        seconds_of("soon")
