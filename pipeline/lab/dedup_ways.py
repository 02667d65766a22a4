"""Whole deduplications, each in processes of its own: what they take, and how well they match."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import Ids
from pipeline.dedup.copy_quality import copy_quality
from pipeline.dedup.identical_sets import SetPairs, set_pairs
from pipeline.embedding.settings import EncoderSettings
from pipeline.lab.process_tree import TreeUse, run_watched

USUAL = 10  # bits by which hashes differ, where imagededup is told nothing
RIVAL = (sys.executable, "-m", "pipeline.lab.dedup_rivals")


@dataclass(frozen=True)
class DedupRun:
    """What one way took, and the pairs it found."""

    use: TreeUse
    pairs: SetPairs


def run_in_turn(commands: Iterable[Sequence[str]]) -> TreeUse:
    """Run the commands one after the other; return the seconds of all and the highest peak.

    Raises subprocess.CalledProcessError where one fails.
    """
    uses = [run_watched(command) for command in commands]
    return TreeUse(sum(use.seconds for use in uses), max(use.peak for use in uses))


def rival_settings(settings: EncoderSettings, similarity: float, workers: int) -> dict[str, Any]:
    """Return what pipeline.lab.dedup_rivals takes, as JSON."""
    return {
        "model": settings.model,
        "weights_sha256": settings.weights.sha256,
        "size": settings.input_size,
        "similarity": similarity,
        "workers": workers,
    }


def run_rival(
    method: str, files: Path, output: Path, wanted: Mapping[str, Any], ids: Ids
) -> DedupRun:
    """Run imagededup's ``method`` over the files whose images have ``ids``, in their order.

    Its pairs are left at ``output``. Raises subprocess.CalledProcessError where it fails, as where
    it is not installed.
    """
    use, pairs = run_rival_files(method, files, output, wanted)
    for place, name in enumerate(("a", "b")):
        pairs = pairs.set_column(place, name, pa.array(ids[pairs[name].to_numpy()]))
    return DedupRun(use, set_pairs(pairs))


def run_rival_files(
    method: str, files: Path, output: Path, wanted: Mapping[str, Any]
) -> tuple[TreeUse, pa.Table]:
    """Run imagededup's ``method`` over ``files``, named by number; return use and PAIRS.

    Raises as ``run_rival`` does.
    """
    use = run_watched([*RIVAL, method, str(files), str(output), json.dumps(wanted)])
    return use, pq.read_table(output)


def quality_table(runs: Mapping[str, DedupRun], truth: pa.Table) -> pa.Table:
    """Return a row a way: what it took, and how its pairs match the scenes of ``truth``."""
    return pa.Table.from_pylist([_row(name, run, truth) for name, run in runs.items()])


def _row(name: str, run: DedupRun, truth: pa.Table) -> dict[str, str | float]:
    quality = copy_quality(run.pairs, truth)
    return {
        "way": name,
        "seconds": run.use.seconds,
        "peak MiB": run.use.peak / 2**20,
        "pairs": quality.pairs,
        "precision": quality.precision,
        "recall": quality.copies / quality.known,
        "micro-AP": quality.micro_ap,
        "R@P90": quality.recall_at_90,
    }
