"""Commands with their outputs on an object store, beside the same in folders."""

import pytest

from jobs.corpus import make_corpus
from jobs.dedup import dedup
from jobs.embed import embed
from jobs.index import index
from pipeline.core.errors import StoreError
from pipeline.core.folder import place
from pipeline.core.store import Store
from tests.helpers.all_jobs import QUICK, left_by, settings
from tests.helpers.command_line import run
from tests.helpers.object_store import SECRET, object_store, objects_below

FEW = ("corpus.images=40", "dedup.similarity=0.8", "search.index=false")


@pytest.fixture(scope="module")
def server():
    with object_store() as server:
        yield server


@pytest.fixture(scope="module")
def far(server):
    return place("s3://bucket/all")


@pytest.fixture(scope="module")
def left(far):
    return left_by(QUICK, far, *FEW)


def test_what_is_left_is_the_same_as_in_a_folder(left, tmp_path):
    near = left_by(QUICK, tmp_path, *FEW)
    assert left == near
    assert {"index/shards/000000.parquet", "search/results.parquet", "dedup/groups.csv"} <= set(
        left
    )


def test_a_search_by_index_finds_the_same(left, far):
    asked = ("--set", "ray.workers=0", "--set", f"embed.output={far}/embeddings")
    asked += ("--set", f"index.output={far}/index", "--output", f"{far}/by_index")
    told = run("search", "id:0", "--index", *asked)
    assert told.exception is None, told.exception
    assert f"all results: {far}/by_index" in told.output


def test_a_job_is_resumed(server, left, far):
    store = Store.open(far / "embeddings", "embeddings")
    whole = objects_below(far / "embeddings")
    store.shards.entry_path(0).unlink()
    (far / "embeddings" / "manifest.json").unlink()
    before = server.asked.requests["LIST"]
    embed(settings(far, *FEW))
    assert server.asked.requests["LIST"] - before < 10  # its entries once, whatever asks for them
    assert objects_below(far / "embeddings") == whole


def test_commands_that_look_after_outputs(left, far):
    stores = [far / name for name in ("corpus", "embeddings", "index", "dedup")]
    assert run("verify", *stores).exit_code == 0
    assert run("usage", *stores).exit_code == 0
    damaged = far / "corpus" / "shards" / "000001.parquet"
    before, version = damaged.read_tagged()
    damaged.put(before[:-1], version)
    told = run("verify", far / "corpus")
    damaged.put(before, damaged.read_tagged()[1])
    assert f"{damaged} does not have the checksum" in str(told.exception)


def damage(path, at=-9):
    data, version = path.read_tagged()
    changed = bytearray(data)
    changed[at] ^= 1
    path.put(bytes(changed), version)


def test_a_damaged_shard_is_made_again_and_no_other(server, left, far):
    whole = objects_below(far / "embeddings")
    damage(far / "embeddings" / "shards" / "000001.parquet")
    assert run("verify", far / "embeddings", "--workers", "0").exception
    before = server.asked.requests["PUT"]
    told = run("verify", far / "embeddings", "--mend", "--workers", "0")
    assert told.exception is None
    assert "1 shards of" in told.output
    assert objects_below(far / "embeddings") == whole
    assert server.asked.requests["PUT"] - before < 12  # its shard, entry, log, lease and manifest


def test_what_another_job_has_to_make_again_is_removed_and_told(left, far):
    whole = objects_below(far / "corpus")
    damage(far / "corpus" / "shards" / "000002.parquet")
    told = run("verify", far / "corpus", "--mend")
    assert "run sluice corpus again to make that alone" in str(told.exception)
    make_corpus(settings(far, *FEW))
    assert objects_below(far / "corpus") == whole


@pytest.mark.parametrize(
    ("store", "names", "job"),
    [
        ("dedup", ["groups.parquet"], dedup),
        ("index", ["codes.npz", "rows/000000.arrow", "levels.parquet"], index),
    ],
)
def test_what_is_damaged_beside_shards_is_removed_and_made_again(left, far, store, names, job):
    whole = objects_below(far / store / "attached")
    for name in names:
        damage(far / store / "attached" / name)
    told = str(run("verify", far / store).exception)
    assert all(str(far / store / "attached" / name) in told for name in names)
    told = str(run("verify", far / store, "--mend").exception)
    assert told == (f"what was damaged is removed; run sluice {store} again to make that alone")
    job(settings(far, *FEW))
    assert objects_below(far / store / "attached") == whole


@pytest.mark.parametrize("name", ["source.parquet", "networks/efficientnet_lite0.xml"])
def test_a_list_and_a_network_are_made_again_in_their_place(left, far, name):
    whole = objects_below(far / "embeddings")
    damage(far / "embeddings" / "attached" / name, at=9)
    assert run("verify", far / "embeddings", "--workers", "0").exception
    told = run("verify", far / "embeddings", "--mend", "--workers", "0")
    assert told.exception is None, told.exception
    assert f"{name} is made again" in told.output.replace("\n", "")
    assert objects_below(far / "embeddings") == whole


def test_a_list_that_cannot_be_made_again_stays_and_is_told(left, far):
    path = far / "embeddings" / "attached" / "source.parquet"
    whole = path.read_bytes()
    damage(path)  # where it names its source
    mend = ("verify", far / "embeddings", "--mend", "--workers", "0", "--set")
    told = str(run(*mend, "source.exclude=[]").exception)
    assert f"{path} does not have its recorded checksum; it no longer tells what" in told
    assert "nothing makes these again in their place" in told
    told = str(run(*mend, f"source.url={far}/dedup/shards").exception)
    assert f"{far}/dedup/shards is no longer what it was made from" in told
    assert len(path.read_bytes()) == len(whole)
    assert run(*mend, f"source.url={far}/corpus").exception is None
    assert path.read_bytes() == whole


def test_verifying_waits_for_many_answers_at_once(server, left, far):
    server.asked.latency, server.asked.most = 0.03, 0
    before = server.asked.requests["HEAD"]
    assert run("verify", far / "corpus").exit_code == 0
    server.asked.latency = 0.0
    assert server.asked.most > 1
    assert server.asked.requests["HEAD"] - before < 3  # of no shard: its bytes tell


def test_a_server_that_fails_costs_nothing(server, left, far):
    with server.failing(0.2):
        again = place("s3://bucket/failing")
        make_corpus(settings(again, *FEW))
    assert objects_below(again / "corpus") == objects_below(far / "corpus")


@pytest.mark.parametrize("bucket", ["not-there", "bucket"])
def test_what_cannot_be_written_is_told_before_any_work(server, bucket, monkeypatch):
    if bucket == "bucket":
        monkeypatch.setattr(server.asked, "app", _forbidden)
    told = run("corpus", "--output", f"s3://{bucket}/x", "--images", "40", "--workers", "0")
    assert isinstance(told.exception, StoreError)
    assert f"s3://{bucket}/x" in str(told.exception)
    assert SECRET not in str(told.exception) + told.output


def _forbidden(environ, start):
    start("403 Forbidden", [("Content-Length", "0")])
    return [b""]
