import subprocess
import sys

import pytest

from pipeline.lab.process_tree import run_watched


def test_memory_of_children_counts_and_a_failure_is_raised():
    child = "import time; data = bytearray(b'1' * 200_000_000); time.sleep(1.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    use = run_watched([sys.executable, "-c", parent])
    assert use.peak > 200_000_000
    assert use.seconds > 1.5
    with pytest.raises(subprocess.CalledProcessError, match="status 3"):
        run_watched([sys.executable, "-c", "raise SystemExit(3)"])
