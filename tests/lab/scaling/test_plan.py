import re

import pytest
from click.testing import CliRunner

from jobs.lab.plan import command, seconds_of
from pipeline.core.errors import ConfigError, InputError

ASKED = ["--images", "1e5", "--ms", "50", "--price", "0.2", "--most", "64"]


def test_a_plan_from_measured_runs(measured):
    ran = CliRunner().invoke(
        command, [*ASKED, "--deadline", "10m", "--set", f"scale.output={measured}"]
    )
    assert ran.exception is None
    assert "EXTRAPOLATED" in ran.output
    told = " ".join(ran.output.split())
    cheapest = re.search(r"the cheapest within 10m: (\d+) workers", told)
    assert cheapest is not None
    assert 8 < int(cheapest[1]) < 16
    assert "money buys nothing" in told
    assert "8 workers" in told.split("not calibrated from:")[1]
    late = CliRunner().invoke(
        command, [*ASKED, "--deadline", "1s", "--set", f"scale.output={measured}"]
    )
    assert "no number of workers up to 64" in " ".join(late.output.split())


def test_without_runs_it_says_what_to_do(tmp_path):
    ran = CliRunner().invoke(command, [*ASKED, "--set", f"scale.output={tmp_path}"])
    assert isinstance(ran.exception, InputError)
    assert "run sluice scale" in str(ran.exception)


def test_deadlines():
    assert [seconds_of(text) for text in ("90s", "10m", "2h", "1.5h")] == [90, 600, 7200, 5400]
    with pytest.raises(ConfigError, match="10m"):
        seconds_of("soon")
