"""What outputs took, and what is no output."""

import json
import time

import pytest

from jobs.config import RayConfig
from jobs.sitting import Sitting, recorded_runs
from pipeline.core.errors import InputError
from pipeline.core.run_record import read_runs
from pipeline.core.shard_stats import shard_stats
from tests.helpers.command_line import run


class Stats:
    """Ten rows a shard."""

    name = "stats"

    def start(self):
        return lambda shard: shard_stats(shard, 10, time.time())


def sit(output, images):
    with Sitting("search", images, RayConfig(workers=0), output, further=True) as sitting:
        sitting.fill(Stats(), [0])


def test_sittings_are_numbered_in_their_folder(tmp_path):
    for folder, images in (("a", 10), ("a", 20), ("b", 30)):
        sit(tmp_path / folder, images)
    told = run("usage", tmp_path / "a", tmp_path / "b").stdout.splitlines()
    rows = [line.split("│")[2:4] for line in told if "drain" in line]
    assert [tuple(map(int, row)) for row in rows] == [(1, 10), (2, 20), (1, 30)]


def test_what_is_no_output_is_told_all_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.html").write_text("a page")
    wrong = [tmp_path / name for name in ("nowhere", "page.html", "empty")]
    done = run("usage", *wrong)
    assert isinstance(done.exception, InputError)
    told = str(done.exception)
    assert f"there is no folder {wrong[0]}; name the output of a job" in told
    assert f"there is no folder {wrong[1]}" in told
    assert f"{wrong[2]} is no job's output" in told
    assert done.stdout == ""


DAMAGED = [b"", b"{", b"[]", b'{"sittings": null}', b'{"sittings": [{"job": "embed"}]}', b"\xff"]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_record_stops_no_job_and_is_told(tmp_path, capsys, data):
    sit(tmp_path, 10)
    (tmp_path / "run.json").write_bytes(data)
    sit(tmp_path, 20)
    assert f"{tmp_path}/run.json is damaged" in capsys.readouterr().err
    assert [found.images for found in read_runs(tmp_path)] == [20]


def test_usage_tells_of_a_damaged_record(tmp_path):
    sit(tmp_path, 10)
    (tmp_path / "run.json").write_text(json.dumps({}))
    done = run("usage", tmp_path)
    assert done.exit_code == 0
    assert "run.json is damaged" in done.stderr
    assert recorded_runs(tmp_path) == []
