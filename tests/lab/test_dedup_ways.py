"""What the ways of deduplicating take and find; imagededup itself has its own test."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dedup.identical_sets import pairs_table, set_pairs
from pipeline.lab import dedup_ways
from pipeline.lab.dedup_ways import DedupRun, quality_table, run_in_turn, run_rival
from pipeline.lab.process_tree import TreeUse

WRITES = """
import sys, pyarrow.parquet as pq, numpy as np
from pipeline.dedup.identical_sets import pairs_table
rows, scores = np.arange(3), np.array([-1.0, -3.0])
pq.write_table(pairs_table(rows[:2], rows[1:], scores, np.zeros(2, bool)), sys.argv[3])
"""


def test_commands_run_in_turn_take_their_time_together():
    use = run_in_turn([[sys.executable, "-c", "import time; time.sleep(0.3)"]] * 2)
    assert use.seconds > 0.6
    with pytest.raises(subprocess.CalledProcessError):
        run_in_turn([[sys.executable, "-c", "raise SystemExit(3)"]])


def test_a_rivals_rows_become_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(dedup_ways, "RIVAL", (sys.executable, "-c", WRITES))
    run = run_rival("phash", tmp_path, tmp_path / "pairs.parquet", {}, np.array([70, 50, 90]))
    first = run.pairs.first
    ends = np.sort(np.stack([first[run.pairs.one], first[run.pairs.other]], axis=1)).tolist()
    assert sorted(zip(run.pairs.scores.tolist(), ends, strict=True)) == [
        (-3.0, [50, 90]),
        (-1.0, [50, 70]),
    ]


def test_the_table_tells_precision_and_recall():
    truth = pa.table({"id": [1, 2, 3, 4, 5], "scene": [1, 1, 1, 4, 5]})
    none = np.zeros(2, bool)
    pairs = pairs_table(np.array([1, 4]), np.array([2, 5]), np.array([0.9, 0.8]), none)
    run = DedupRun(TreeUse(2.0, 3 * 2**20), set_pairs(pairs))
    (row,) = quality_table({"ours": run}, truth).to_pylist()
    assert (row["way"], row["seconds"], row["peak MiB"], row["pairs"]) == ("ours", 2.0, 3.0, 2)
    assert (row["precision"], row["recall"]) == (0.5, pytest.approx(1 / 3))
