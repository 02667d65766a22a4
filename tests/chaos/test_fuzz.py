"""Mutated files of every format: each is signed or quarantined, and no job is lost.

`make fuzz` runs it, with FUZZ_FILES=10000, FUZZ_SEED and FUZZ_WORKERS from the environment.
"""

import collections
import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.core.store import Store
from tests.helpers.mutants import mutant, wholes

pytestmark = pytest.mark.chaos
FILES = int(os.environ.get("FUZZ_FILES", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
WORKERS = os.environ.get("FUZZ_WORKERS", "1")


def small(photos):
    return [np.ascontiguousarray(photo[:160, :220]) for photo in photos]


@pytest.fixture
def folder(tmp_path, photos):
    random = np.random.default_rng(SEED)
    whole = list(wholes(small(photos)))
    (tmp_path / "mutants").mkdir()
    for number in range(FILES):
        suffix, data = whole[number % len(whole)]
        other = whole[random.integers(len(whole))][1]
        path = tmp_path / "mutants" / f"{number:05d}.{suffix}"
        path.write_bytes(mutant(data, other, random))
    return tmp_path / "mutants"


@pytest.mark.timeout(3600)
def test_every_mutant_is_signed_or_quarantined(folder, tmp_path):
    options = ["--output", tmp_path / "out", "--workers", WORKERS, "--seconds-an-image", "10"]
    command = [sys.executable, "-m", "jobs", "sign", folder, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    store = Store.open(tmp_path / "out", "signatures")
    refused = store.read_quarantine()
    signed = [key for entry in store.manifest() for key in store.read(entry.shard)["key"]]
    keys = sorted([key.as_py() for key in signed] + refused["key"].to_pylist())
    assert keys == sorted(path.name for path in folder.iterdir())
    print(len(signed), "signed,", dict(collections.Counter(refused["reason"].to_pylist())))
