"""The work of sluice lab scale: a pool's answer and the plain program's are the same."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import list_source
from pipeline.lab.scaling.run import RunSettings
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.work import search_work, sign_work
from pipeline.lab.scaling.workloads import join_workload
from pipeline.search.exact_topk import exact_scores

K = 3


@pytest.fixture
def embeddings(tmp_path):
    """Forty vectors of one shard are equal, so that the first answer cannot be certified."""
    rng = np.random.default_rng(0)
    store = Store.create(tmp_path / "embeddings", "embeddings", {"model": "none"})
    for shard in range(3):
        vectors = rng.normal(size=(60, 16)).astype(np.float32)
        if shard == 1:
            vectors[:40] = vectors[0]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = np.arange(60) + 60 * shard
        store.write_shard(shard, pa.table({"id": ids, "embedding": embedding_column(vectors)}))
    store.finish(3)
    return store


class Pool:
    """A pool of this process, which counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, plan, shards):
        self.asked += 1
        return in_process(plan, shards)


def truth(store, shards, queries):
    table = pa.concat_tables([store.read(shard) for shard in shards])
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    scores = exact_scores(queries, np.broadcast_to(vectors, (len(queries), *vectors.shape)))
    ids = np.broadcast_to(table["id"].to_numpy(), scores.shape)
    order = np.lexsort((ids, -scores))[:, :K]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def test_a_search_is_exact_and_asks_the_pool_again_where_it_must(embeddings, tmp_path):
    queries = np.array(embeddings.read(1)["embedding"].to_pylist()[:50:49], np.float32)
    work, pool = search_work(embeddings, [0, 1, 2], queries, K, tmp_path), Pool()
    found = work.take(in_process(work.plan, work.shards), pool)
    assert pool.asked == 1
    assert np.array_equal(found.ids, truth(embeddings, [0, 1, 2], queries)[0])
    assert work.alone() == 180


def test_the_plain_scan_finds_the_same_and_leaves_out_what_is_gone(embeddings, tmp_path):
    from pipeline.lab.scaling.single_threaded import search_single_threaded

    embeddings.bury([0, 5, 119, 179])
    queries = np.array(embeddings.read(2)["embedding"].to_pylist()[:4], np.float32)
    files = [embeddings.shards.path(shard) for shard in (0, 2)]
    found = search_single_threaded(files, embeddings.tombstones(), queries, K)
    ids, scores = truth(embeddings, [0, 2], queries)
    assert found.images == 117
    assert np.array_equal(found.ids, ids)
    assert found.scores == pytest.approx(scores, abs=1e-6)
    assert search_work(embeddings, [0, 2], queries, K, tmp_path).alone() == 117


def test_the_plain_program_signs_as_the_workers_do(tmp_path, jpegs):
    (tmp_path / "photos").mkdir()
    for number, data in enumerate([*jpegs[:5], b"no image"]):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    listed = list_source(str(tmp_path / "photos"))
    manifest = plan_manifest(listed, 2).manifest
    work = sign_work(listed.source, manifest, tmp_path / "scratch", lambda: None)
    answers = list(in_process(work.plan, work.shards))
    assert work.take(answers, Pool()) is None
    assert work.alone() == sum(answer["rows"][0].as_py() for answer in answers) == 6
    store = Store.open(tmp_path / "scratch", "signatures")
    signed = pa.concat_tables([store.read(shard) for shard in work.shards])
    assert pq.read_table(tmp_path / "scratch" / "all.parquet").equals(signed)


def test_the_join_finds_the_plain_programs_pairs(embeddings, tmp_path):
    few = ScaleSettings(images=120)
    workload = join_workload(embeddings, few, 0.99, tmp_path / "made")
    work = workload.work(RunSettings("join", "strong", 1, 0, 120, False), tmp_path / "scratch")
    assert workload.shards == len(work.shards) > 1
    work.write(work.take(in_process(work.plan, work.shards), Pool()))
    assert work.alone() == workload.shards
    store = Store.open(tmp_path / "scratch", "pairs")
    sets = pa.concat_tables([store.read(part) for part in work.shards])
    found = {id for pair in sets.select(["a", "b"]).to_pylist() for id in pair.values()}
    plain = pq.read_table(tmp_path / "scratch" / "all.parquet")
    assert plain.num_rows == 40 * 39 / 2  # forty images are one
    assert found == set(plain["a"].to_pylist()) | set(plain["b"].to_pylist())
