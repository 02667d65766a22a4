"""`sluice dedup` on a synthetic embedding store, in this process."""

import numpy as np
import pyarrow as pa
import pytest

from jobs.config import load_config
from jobs.dedup import dedup, read_results
from pipeline.core.errors import StoreError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column

pytestmark = pytest.mark.usefixtures("dedup_without_ray")

ROWS, SHARDS, DIMENSIONS = 200, 4, 16


def synthetic(root, shards=SHARDS):
    """Scenes of near-duplicates scattered over the shards."""
    rng = np.random.default_rng(7)
    total = ROWS * SHARDS
    scenes = rng.permutation(total) // 4
    centres = rng.normal(size=(total // 4, DIMENSIONS))
    vectors = centres[scenes] + rng.normal(size=(total, DIMENSIONS)) * 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kinds = np.array(["original", "crop", "flip", "scale"])
    store = Store.create(root, "embeddings", {"model": "synthetic scenes"})
    there = {entry.shard for entry in store.entries()}
    for shard in set(range(shards)) - there:
        ids = np.arange(shard * ROWS, (shard + 1) * ROWS)
        table = {
            "id": ids,
            "key": [f"{number}.jpg" for number in ids],
            "width": pa.array(10 + ids % 5, pa.int32()),
            "height": pa.array(np.full(ROWS, 10), pa.int32()),
            "embedding": embedding_column(vectors[ids]),
            "scene": scenes[ids],
            "transform": kinds[ids % 4].tolist(),
        }
        store.write_shard(shard, pa.table(table))
    store.finish(shards)
    return vectors.astype(np.float32).astype(np.float64)


def config(root, *overrides):
    small = (
        f"embed.output={root}/embeddings",
        f"dedup.output={root}/dedup",
        "dedup.buckets=20",
        "dedup.partition_rows=300",
        "dedup.recall_sample=300",
        "dedup.similarity=0.85",
    )
    return load_config(None, [*small, *overrides])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("dedup")
    vectors = synthetic(root / "embeddings")
    scores = vectors @ vectors.T
    truth = {tuple(map(int, p)) for p in np.argwhere(np.triu(scores >= 0.85, 1))}
    return root, truth, dedup(config(root))


def pairs_of(table):
    return set(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))


def test_one_bucket_gives_all_pairs(done, tmp_path):
    root, truth, _ = done
    found = dedup(config(root, "dedup.buckets=1", f"dedup.output={tmp_path}"))
    assert len(truth) > 200
    assert pairs_of(found.pairs) == truth
    assert found.recall is None


def test_the_join_misses_little_and_knows_how_much(done):
    root, truth, found = done
    pairs = pairs_of(found.pairs)
    assert pairs <= truth
    assert found.grid.buckets == 20
    assert found.recall.low <= len(pairs) / len(truth) + 0.02
    assert abs(found.recall.recall - len(pairs) / len(truth)) < 0.05
    assert list(Store.open(root / "dedup").problems()) == []
    assert all(
        kept.equals(made)
        for kept, made in zip(
            read_results(config(root)), (found.pairs, found.clusters), strict=True
        )
    )


def test_an_image_in_all_buckets_misses_nothing(done, tmp_path):
    root, truth, _ = done
    every = ("dedup.buckets=8", "dedup.assignments=8", f"dedup.output={tmp_path}")
    assert pairs_of(dedup(config(root, *every)).pairs) == truth


def test_added_shards_give_the_pairs_of_a_rebuild(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    dedup(config(tmp_path))
    synthetic(tmp_path / "embeddings", shards=3)
    dedup(config(tmp_path))
    synthetic(tmp_path / "embeddings")
    added = dedup(config(tmp_path))
    same_grid = (f"dedup.grid_from={tmp_path}/dedup", f"dedup.output={tmp_path}/whole")
    whole = dedup(config(tmp_path, *same_grid))
    assert added.pairs.equals(whole.pairs)
    assert added.clusters.equals(whole.clusters)
    for name in ("pairs", "clusters"):
        path = f"attached/{name}.parquet"
        assert (tmp_path / "dedup" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_a_resumed_join_gives_the_same_bytes(done):
    root, _, found = done
    (root / "dedup" / "entries" / "000001.json").unlink()
    (root / "dedup" / "partitions" / "entries" / "000002.json").unlink()
    (root / "dedup" / "attached" / "pairs.parquet.json").unlink()
    with pytest.raises(StoreError, match="not finished"):
        read_results(config(root))
    before = {p: p.read_bytes() for p in (root / "dedup").rglob("*.parquet")}
    assert dedup(config(root)).pairs.equals(found.pairs)
    assert {p: p.read_bytes() for p in (root / "dedup").rglob("*.parquet")} == before


def test_pairs_of_tombstoned_images_are_gone(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    before = dedup(config(tmp_path))
    gone = before.pairs["a"].to_pylist()[:5]
    Store.open(tmp_path / "embeddings").bury(gone)
    left = pairs_of(dedup(config(tmp_path)).pairs)
    assert left == {p for p in pairs_of(before.pairs) if not set(p) & set(gone)}


def test_other_settings_are_refused(done):
    with pytest.raises(StoreError, match="assignments: 3 there, 2 asked for"):
        dedup(config(done[0], "dedup.assignments=2"))
