"""What can be wrong with outputs and weights, as a user meets it: one message, no traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from pipeline.core.store import Store
from tests.helpers.command_line import run
from tests.helpers.images import jpeg_bytes

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(photos):
        (root / f"{number}.jpg").write_bytes(jpeg_bytes(photo))
    return root


@pytest.fixture(scope="module")
def embedded(photos_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("embedded") / "embeddings"
    assert embed(photos_folder, output).returncode == 0
    return output


@pytest.fixture
def copy(embedded, tmp_path):
    return shutil.copytree(embedded, tmp_path / "embeddings")


def command(*arguments):
    return [sys.executable, "-m", "jobs", *map(str, arguments)]


def sluice(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def embedding(source, output, *more):
    settings = [f"source.url={source}", f"embed.output={output}", "embed.input_size=64", *more]
    return ("embed", *(part for text in settings for part in ("--set", text)))


def embed(source, output, *more):
    return sluice(*embedding(source, output, *more))


def is_told(run, message, code=4):
    assert run.returncode == code, run.stderr
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


@contextmanager
def held_back(job, sign):
    """Stop ``job`` once the file ``sign`` is there, and let it go on afterwards."""
    while not sign.exists():
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        job.send_signal(signal.SIGCONT)


def test_a_second_job_on_the_same_output(photos_folder, embedded, tmp_path):
    output = tmp_path / "embeddings"
    first = subprocess.Popen(
        command(*embedding(photos_folder, output)), stderr=subprocess.PIPE, text=True
    )
    with held_back(first, output / "attached" / "source.parquet"):
        second = embed(photos_folder, output)
    _, told = first.communicate()
    is_told(second, f"another job is writing {output}; wait for it, or choose another output")
    assert first.returncode == 0, told
    assert Store.open(output).read(0).equals(Store.open(embedded).read(0))
    assert list(Store.open(output).problems()) == []


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


def test_a_source_manifest_cut_short(photos_folder, copy):
    (copy / "attached" / "source.parquet").write_bytes(b"PAR1 and no more")
    told = "source.parquet does not have its recorded checksum; run sluice verify"
    is_told(embed(photos_folder, copy), told)


def test_a_source_manifest_that_is_gone(photos_folder, copy):
    record = copy / "attached" / "source.parquet.json"
    recorded = record.read_bytes()
    record.unlink()
    is_told(embed(photos_folder, copy), "lacks attached/source.parquet; run sluice verify")
    assert "source.parquet is lost" in str(run("verify", copy).exception)
    assert run("verify", copy, "--mend", "--workers", "0").exception is None
    assert record.read_bytes() == recorded


def test_a_shard_cut_short_is_told_by_readers(copy):
    image = Store.open(copy).read(0)["id"][0].as_py()
    os.truncate(copy / "shards" / "000000.parquet", 1000)
    search = ("search", f"id:{image}", "--set", f"embed.output={copy}")
    is_told(sluice(*search), "000000.parquet cannot be read")
    is_told(sluice("verify", copy), "000000.parquet does not have the checksum")


def test_a_manifest_of_a_newer_version(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    is_told(sluice("verify", copy), "made by a newer Sluice")


def test_weights_that_are_missing_or_not_the_ones_wanted(photos_folder, tmp_path):
    weights = tmp_path / "weights.pth"
    settings = (f"embed.weights={weights}", "embed.weights_sha256=ab12")
    output = tmp_path / "embeddings"
    is_told(embed(photos_folder, output, *settings), "cannot read the weights", code=3)
    weights.write_bytes(b"other weights")
    is_told(embed(photos_folder, output, *settings), "fetch the weights again", code=3)
    assert not output.exists()
