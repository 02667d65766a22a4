"""What can be wrong with an output, as a user meets it: one message, exit code 4, no traceback."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from pipeline.store import Store
from tests.conftest import jpeg_bytes

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(photos):
        (root / f"{number}.jpg").write_bytes(jpeg_bytes(photo))
    return root


def embed(source, output):
    settings = [f"source.url={source}", f"embed.output={output}", "embed.input_size=64"]
    options = [part for text in settings for part in ("--set", text)]
    command = [sys.executable, "-m", "jobs", "embed", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def is_told(run, message):
    assert run.returncode == 4, run.stderr
    assert message in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr


@contextmanager
def mounted(path, options):
    """A file system of its own at ``path``; skips where mounting is not allowed."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_second_job_on_the_same_output(photos_folder, tmp_path):
    output = tmp_path / "embeddings"
    assert embed(photos_folder, output).returncode == 0
    with Store.open(output).lock():
        is_told(embed(photos_folder, output), "another job is writing")


def test_a_full_disk(photos_folder, tmp_path):
    with mounted(tmp_path / "small", "size=20k") as disk:
        is_told(embed(photos_folder, disk / "embeddings"), "No space left on device; free some")


def test_a_disk_that_cannot_be_written(photos_folder, tmp_path):
    with mounted(tmp_path / "fixed", "ro") as disk:
        is_told(embed(photos_folder, disk / "embeddings"), "Read-only file system")


def test_a_store_of_a_newer_version(photos_folder, tmp_path):
    header = {"format": 99, "kind": "embeddings", "identity": {}}
    (tmp_path / "store.json").write_text(json.dumps(header))
    is_told(embed(photos_folder, tmp_path), "made by a newer Sluice")


def test_a_source_manifest_cut_short(photos_folder, tmp_path):
    output = tmp_path / "embeddings"
    assert embed(photos_folder, output).returncode == 0
    (output / "source.parquet").write_bytes(b"PAR1 and no more")
    is_told(embed(photos_folder, output), "source.parquet cannot be read")
