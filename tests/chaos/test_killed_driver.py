"""kill -9 of the job, twice, then the same command again: nothing lost, nothing twice.

The first has workers, the others do all in their own process: it makes no difference either.
"""

import subprocess
import sys
import time

import pytest

from pipeline.core.store import Store
from pipeline.corpus.maker import CorpusPlan
from pipeline.corpus.photos import find_photos
from pipeline.corpus.scenes import CorpusSettings
from tests.helpers.files import digests

pytestmark = [pytest.mark.chaos, pytest.mark.ray]
SHARDS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed") / "corpus"
    store = Store.create(root, "corpus", {})
    settings = CorpusSettings(seed=0, copies=8, size=64, quality=85)
    make_shard = CorpusPlan(find_photos(None), root, 16 * SHARDS, 16, settings).start()
    for shard in range(SHARDS):
        make_shard(shard)
    store.finish(SHARDS)
    return root


def start(corpus, output, workers=0):
    settings = ("source.shard_rows=16", f"source.url={corpus}", f"embed.output={output}")
    settings += (f"ray.workers={workers}",)
    options = [part for text in settings for part in ("--set", text)]
    command = [sys.executable, "-m", "jobs", "embed", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished_shards(output):
    return len(list((output / "entries").glob("*.json")))


def kill_after(job, output, shards):
    while finished_shards(output) < shards and job.poll() is None:
        time.sleep(0.01)
    assert job.poll() is None, job.communicate()[0]
    job.kill()
    job.communicate()


def test_killed_twice_it_ends_with_the_bytes_of_a_run_in_peace(corpus, tmp_path):
    peace, war = tmp_path / "peace", tmp_path / "war"
    told, _ = (calm := start(corpus, peace)).communicate()
    assert calm.returncode == 0, told
    kill_after(start(corpus, war, workers=2), war, 1)
    first = finished_shards(war)
    assert 1 <= first < SHARDS
    kill_after(start(corpus, war), war, first + 2)
    assert first + 2 <= finished_shards(war) < SHARDS
    assert not (war / "manifest.json").exists()
    told, _ = (last := start(corpus, war)).communicate()
    assert last.returncode == 0, told
    assert digests(war) == digests(peace)
    assert [entry.rows for entry in Store.open(war, "embeddings").manifest()] == [16] * SHARDS
