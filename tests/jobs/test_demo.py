"""The demo, from a folder that holds nothing: what it shows and what it leaves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.demo import STEPS
from tests.helpers.command_line import run

ROOT = Path(__file__).parents[2]
SMALL = ("corpus.images=160", "corpus.size=64", "corpus.shard_rows=80", "source.shard_rows=80")
SMALL += ("embed.input_size=64", "search.sample_queries=9", "calibrate.fit_images=65")
SMALL += ("calibrate.calibration_images=65", "index.buckets=4")
SETTINGS = [part for text in SMALL for part in ("--set", text)]
PAGES = ("report.html", "cascade/funnel.html", "dedup/report.html")


def is_whole(folder, told):
    """Every command's result is shown, and the pages named are there."""
    headings = [line for line in told.splitlines() if line.startswith("sluice ")]
    assert headings == [f"sluice {name}" for name in STEPS]
    words = " ".join(told.split())
    assert "no cascade is proved" in words or "recall of copies (changed by one or two of" in words
    assert told.splitlines()[-3:] == [f"  work/demo/{page}" for page in PAGES]
    for page in PAGES:
        assert "<html" in (folder / "work" / "demo" / page).read_text()
    assert [path.name for path in folder.iterdir()] == ["work"]
    assert [path.name for path in (folder / "work").iterdir()] == ["demo"]


def test_every_command_is_shown_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("demo", "--workers", 0, *SETTINGS)
    assert done.exit_code == 0, done.exception
    is_whole(tmp_path, done.stdout)


@pytest.mark.ray
def test_with_workers_nothing_is_on_the_screen_that_is_not_ours(tmp_path):
    """Ray's core and its raylet complain in every run: not to the user."""
    command = [sys.executable, "-m", "jobs", "corpus", "--workers", "2", *SETTINGS]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(corpus: [^\n]+\n)+", done.stderr)
    assert "raylet" not in done.stdout
