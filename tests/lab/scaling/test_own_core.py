import json
import os
import subprocess
import sys

import pytest

from pipeline.lab.scaling.own_core import take_core

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot move a process to a core"
)
THREADS = """
import json, os, sys, threading
from pathlib import Path
from pipeline.lab.scaling.own_core import OnOwnCore
ended = threading.Event()
before = threading.Thread(target=ended.wait)
before.start()
class Plan:
    name = "affinity"
    def start(self):
        return os.sched_getaffinity(before.native_id)
plan = OnOwnCore(Plan(), Path(sys.argv[1]))
assert plan.name == "affinity"
cores = [plan.start(), os.sched_getaffinity(0)]
ended.set()
print(json.dumps([sorted(some) for some in cores]))
"""


def cores_of_threads(*taken):
    ran = subprocess.run(
        [sys.executable, "-c", THREADS, *taken], check=True, capture_output=True, text=True
    )
    return json.loads(ran.stdout)


@needs_affinity
def test_each_process_moves_to_a_core_of_its_own_with_all_its_threads(tmp_path):
    mine = sorted(os.sched_getaffinity(0))
    for core in mine:
        assert cores_of_threads(str(tmp_path)) == [[core], [core]]
    assert cores_of_threads(str(tmp_path)) == [mine, mine]  # none is left


@needs_affinity
def test_every_core_is_taken_once(tmp_path):
    cores = [take_core(tmp_path / "cores") for _ in range(len(os.sched_getaffinity(0)) + 1)]
    assert cores == [*sorted(os.sched_getaffinity(0)), None]
