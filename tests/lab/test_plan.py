import re

import pytest

from jobs.lab.plan import seconds_of
from pipeline.core.errors import ConfigError, DeadlineError, InputError
from pipeline.core.forecast import PoolCosts
from pipeline.core.measured import measured_here, read_measured, write_measured
from pipeline.core.origin import machine
from pipeline.core.run_record import RunRecord
from tests.helpers.command_line import run

COSTS = PoolCosts(10.0, 0.0, 0.01, 0.001, 0.5, (0.9, 1.0, 1.1), off=(-0.1, 0.2))


@pytest.fixture
def measured(tmp_path):
    found = measured_here("emulated", COSTS, 50.0, "sluice lab scale")
    write_measured(tmp_path / "measured.yaml", found)
    return tmp_path


def plan(runs, *more, images="1e5", ms="50"):
    flags = [f"--images={images}"] if images else []
    flags += [f"--ms={ms}"] if ms else []
    ran = run("lab", "plan", f"--set=scale.output={runs}", *flags, "--most=64", *more)
    return ran, " ".join(ran.output.split())


def test_a_plan_from_measured_runs(measured):
    ran, told = plan(measured, "--deadline=10m", "--price=0.2")
    assert ran.exception is None
    assert (
        f"100,000 images of 50 ms, EXTRAPOLATED; measured on {machine()}: workers that slept"
        in told
    )
    cheapest = re.search(r"the cheapest within 10m: (\d+) workers, .* cost ([\d.]+) \(", told)
    assert cheapest is not None
    assert 8 < int(cheapest[1]) < 12
    assert 0.2 < float(cheapest[2]) < 0.4  # 1.4 hours of 0.2, and the start-up
    assert "to the end of its range too: " in told
    assert "the model was -10% to +20% off" in told
    assert "spot" not in told


def test_the_answers_of_a_plan_agree(measured):
    found = [plan(measured, "--deadline=3h", f"--images={n}")[1] for n in (1000, 10**6)]
    assert "twice as many shorten it by less than a tenth: from here on start-up" in found[0]
    assert "up to 64 workers each doubling still helps; --most looks further" in found[1]


def test_what_is_not_in_time_has_an_exit_code_of_its_own(measured):
    ran, told = plan(measured, "--deadline=15s")
    assert isinstance(ran.exception, DeadlineError)
    assert ran.exception.exit_code == 6
    assert "the quickest of up to 64 workers takes" in str(ran.exception)
    assert "time by workers" in told
    ran, _ = plan(measured, "--deadline=5s", "--images=100")
    assert str(ran.exception).endswith("raise --deadline")
    ran, _ = plan(measured, "--deadline=60s")  # 78 s with 64 workers, fewer with more
    assert str(ran.exception).endswith("raise --most")
    assert plan(measured, "--deadline=60s", "--most=200")[0].exception is None


def test_spot_workers_have_a_range(measured):
    _, told = plan(measured, "--price=0.2", "--spot-price=0.06", "--interruptions=1")
    assert "spot: 0.06 a worker-hour, 1 interruptions an hour" in told
    ends = re.search(r"on demand, ([\d.]+) \(([\d.]+) to ([\d.]+)\) spot", told)
    assert ends is not None
    assert float(ends[2]) < float(ends[1]) < float(ends[3])


@pytest.mark.parametrize("images", ["100k", "0.1M", "100,000", "100_000", "1e5"])
def test_a_number_of_images_as_one_says_it(measured, images):
    assert "100,000 images of" in plan(measured, images=images)[1]


def test_without_runs_it_says_whose_it_goes_by(tmp_path):
    ran, told = plan(tmp_path)
    assert ran.exception is None
    assert f"measured on {read_measured().machine}, not yours" in told


def test_milliseconds_and_start_up_are_taken_from_a_run(tmp_path):
    seconds = {"source manifest": 2.0, "start-up of workers": 20.0, "workers at work": 500.0}
    record = RunRecord("embed", 20_000, 2, seconds, in_pool=True, shards=20, busy=1000.0)
    record.save(tmp_path)
    ran, told = plan(tmp_path, f"--from={tmp_path}", ms=None)
    assert ran.exception is None
    assert f"100,000 images of 50 ms, EXTRAPOLATED; measured on {machine()}: embed, sluice" in told
    ran, _ = plan(tmp_path, f"--from={tmp_path / 'nothing'}")
    assert isinstance(ran.exception, InputError)
    assert "holds no run.json" in str(ran.exception)


@pytest.mark.parametrize(("name", "told"), [("images", "images is missing"), ("ms", "--from")])
def test_what_is_not_said_is_told(measured, name, told):
    ran, _ = plan(measured, **{name: None})
    assert isinstance(ran.exception, ConfigError)
    assert told in str(ran.exception)


def test_deadlines():
    assert [seconds_of(text) for text in ("90s", "10m", "1h30m", "1.5h")] == [90, 600, 5400, 5400]
    for text in ("soon", "0s", "1h soon", ""):
        with pytest.raises(ConfigError, match="10m"):
            seconds_of(text)
