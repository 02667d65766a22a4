"""The guide's steps: which are run, with which settings, and what becomes of their failures."""

import os
import signal
import subprocess
import sys

import pytest

from jobs.lab.config import LabConfig
from jobs.lab.guide import STEPS, lacking_steps, settings_of
from jobs.settings import READY, load_config
from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.tables import parquet_bytes
from pipeline.lab.claims import Claim, check_claims
from pipeline.lab.facts import FACTS, TOLD_BY
from tests.helpers.command_line import run

GUIDE = READY / "guide.yaml"


def lacking(folder, facts):
    claims = [Claim("s", name, 1, "s", here=name) for name in facts]
    table = check_claims(claims, {}, TOLD_BY)
    write_atomically(folder / "claims.parquet", parquet_bytes(table))
    return lacking_steps(folder)


def test_steps_are_those_that_make_what_claims_lack(tmp_path):
    assert lacking(tmp_path, ["merge", "scan_doubling"]) == ["lab growth", "bench nearest"]
    assert lacking(tmp_path, ["recall_of_1"]) == ["corpus", "sign", "calibrate", "bench recall"]
    assert lacking(tmp_path, ["query_seconds"]) == ["lab million-index", "search"]
    assert lacking(tmp_path, TOLD_BY) == list(STEPS)
    assert lacking(tmp_path, []) == []


def test_every_fact_that_is_measured_has_a_step():
    assert {made for makers in STEPS.values() for made in makers} == FACTS.keys() - {
        "sluice lab claims"
    }


def test_without_a_table_it_is_told_why(tmp_path):
    with pytest.raises(StoreError, match="sluice lab claims"):
        lacking_steps(tmp_path)


def test_a_step_of_the_lab_takes_the_file_and_what_was_said():
    config = load_config(GUIDE, ["growth.largest=8192"], LabConfig, {"guide.output": "there"})
    said = ["--set", "guide.output=there", "--set", "growth.largest=8192"]
    assert settings_of(config, "lab growth") == ["-c", "guide", *said]


@pytest.mark.parametrize("path", [GUIDE, None])
def test_a_step_of_the_product_gets_the_same_settings_one_by_one(path):
    said = ["search.where=label = 'cat'", "embed.weights=null", "source.url=[a b, c]"]
    config = load_config(path, said, LabConfig)
    flags = settings_of(config, "cascade")
    assert set(flags[::2]) == {"--set"}
    theirs = load_config(None, flags[1::2])
    mine = config.model_dump(include=set(type(theirs).model_fields))
    assert theirs.model_dump() == mine
    assert theirs.source.given() == config.source.given() == ("a b", "c")
    assert not theirs.ray.model_fields_set  # a default is not given


def test_a_failed_step_is_told_and_the_next_ones_are_done(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(READY.parent))
    claims = tmp_path / "mine.yaml"
    claims.write_text(
        "- {scenario: s, claim: counted, claimed: 20, unit: x, here: checks_in_1_million}"
    )
    said = [f"--set=claims.file={claims}", "--set=page.output=/dev/null"]
    ran = run("lab", "guide", "-c", "guide", *said)
    assert ran.exit_code, ran.output  # the page cannot be where it was asked for
    assert "failed: sluice lab page" in ran.output
    assert "1 of 2: sluice lab claims -c guide" in ran.output
    assert "counted" in capfd.readouterr().out
    assert (tmp_path / "work/guide/run.json").exists()


def test_the_end_is_passed_on_to_a_step(tmp_path):
    code = "from jobs.lab.guide import run_step; from jobs.stopping import *; stop_on_signals()\n"
    code += "try: run_step(['lab', 'growth', '--output', '.'])\n"
    code += "except Stopped as stopped: leave(stopped.number)"
    env = os.environ | {"PYTHONPATH": str(READY.parent)}
    guide = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, text=True, stderr=subprocess.PIPE
    )
    line = guide.stderr.readline()
    guide.send_signal(signal.SIGTERM)
    rest = guide.communicate(timeout=60)[1]
    assert "1,024 vectors" in line
    assert guide.returncode == 128 + signal.SIGTERM
    assert rest.count("run the same command again to go on") == 2
