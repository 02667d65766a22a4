"""Ctrl-C and SIGTERM: what is left, what is said, the exit code; also a second signal."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from jobs.stopping import HOW_TO_GO_ON, Stopped
from pipeline.core.files import write_atomically
from pipeline.core.store import Store

SIGNALS = [signal.SIGINT, signal.SIGTERM]
STOPPED = f"{HOW_TO_GO_ON}\n"


def listen():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the tests may run where it is ignored


def start(*arguments):
    command = [sys.executable, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=listen)


def corpus(output, workers):
    """Start a job of minutes."""
    made = ("--images", 100_000, "--shard-rows", 16, "--output", output)
    return start("-m", "jobs", "corpus", *made, "--set", f"ray.workers={workers}")


def wait_for(job, there):
    while not there() and job.poll() is None:
        time.sleep(0.01)


def stopped(job, number):
    """Send the signal; return what was told. Nothing the job has started may be left."""
    children = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(number)
    out, told = job.communicate(timeout=60)
    assert job.returncode == 128 + number, told
    assert psutil.wait_procs(children, 5)[1] == []
    assert "Traceback" not in told
    assert "***" not in told  # as a stack of Ray's core begins
    assert out == ""
    return told


def only_progress_before(told):
    *lines, last = told.splitlines()
    return last == HOW_TO_GO_ON and all(line.startswith("corpus: ") for line in lines)


def is_free_and_tidy(output):
    assert list(output.rglob(".*.tmp-*")) == []
    with Store.open(output, "corpus").lock():
        pass


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_works_in_this_process(tmp_path, number):
    job = corpus(tmp_path, 0)
    wait_for(job, lambda: len(list(tmp_path.glob("entries/*.json"))) > 2)
    told = stopped(job, number)
    assert told.endswith(STOPPED)
    assert told.splitlines()[0].startswith("corpus")
    is_free_and_tidy(tmp_path)


@pytest.mark.ray
def test_while_its_workers_work(tmp_path):
    number, job = signal.SIGINT, corpus(tmp_path, 2)
    wait_for(job, lambda: len(list(tmp_path.glob("entries/*.json"))) > 2)
    told = stopped(job, number)
    assert only_progress_before(told)
    is_free_and_tidy(tmp_path)


@pytest.mark.ray
def test_while_ray_starts(tmp_path):
    number, job = signal.SIGTERM, corpus(tmp_path, 2)
    parent = psutil.Process(job.pid)
    wait_for(job, lambda: any("raylet" in child.name() for child in parent.children()))
    assert only_progress_before(stopped(job, number))
    is_free_and_tidy(tmp_path)


WHILE_IT_IMPORTS = """
import os, sys
from jobs.__main__ import main

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "jobs.commands":
            os.kill(os.getpid(), int(sys.argv[-1]))

sys.meta_path.insert(0, Interrupts())
main()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_starts_also_for_help(number):
    job = start("-c", WHILE_IT_IMPORTS, "--help", int(number))
    assert job.communicate() == ("", STOPPED)
    assert job.returncode == 128 + number


TWICE = """
import os, signal, time
from jobs.stopping import stop_on_signals

stop_on_signals()
try:
    os.kill(os.getpid(), signal.SIGINT)
finally:
    print("puts away", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_second_signal_ends_it_at_once():
    job = start("-c", TWICE)
    assert job.communicate(timeout=30) == ("puts away\n", STOPPED)
    assert job.returncode == 128 + signal.SIGTERM


IGNORED = """
import os, signal
from jobs.stopping import stop_on_signals

signal.signal(signal.SIGINT, signal.SIG_IGN)
stop_on_signals()
os.kill(os.getpid(), signal.SIGINT)
print("goes on")
"""


def test_an_ignored_signal_stays_ignored():
    """As Ctrl-C is for a job in the background of a script."""
    job = start("-c", IGNORED)
    assert job.communicate() == ("goes on\n", "")


def test_half_a_file_goes(tmp_path, monkeypatch):
    def stop(_):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(Stopped):
        write_atomically(tmp_path / "shard.parquet", b"some")
    assert list(tmp_path.iterdir()) == []
