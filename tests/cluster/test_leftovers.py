import os
import subprocess
import sys

import psutil
import pytest

from cluster.leftovers import clear_leftovers

# A driver that starts what outlives it with a log of its own open, as Ray's agents have; and waits.
DRIVES = """
import subprocess, sys, time
from pathlib import Path
from cluster.leftovers import SESSION, drivers_file

session = Path(sys.argv[1])
(session / "logs").mkdir(parents=True)
with drivers_file() as path:
    path.write_text("core complains\\n" + SESSION.format(session))
    log = open(session / "logs" / "agent.log", "w")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=log)
    print(child.pid, path, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """The driver, its child and its file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = [sys.executable, "-c", DRIVES, tmp_path / "session_7"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    number, path = started.stdout.readline().split()
    child = psutil.Process(int(number))
    yield started, child, path
    started.kill()
    started.communicate()
    if child.is_running():
        child.kill()


def lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_living_drivers_are_left_alone_and_a_dead_ones_go(driver):
    started, child, path = driver
    clear_leftovers()
    assert lives(child)
    assert os.path.exists(path)
    started.kill()
    started.wait()
    clear_leftovers()
    assert not lives(child)
    assert not os.path.exists(path)


def test_without_a_file_nothing_is_proved(driver):
    started, child, path = driver
    os.unlink(path)
    started.kill()
    started.wait()
    clear_leftovers()
    assert lives(child)
