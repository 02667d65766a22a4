"""How candidate pairs are laid out: each once, and of the same few pictures near each other."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.store import Store
from pipeline.dedup.second_look import laid_out

IMAGES, SHARDS, NEAR = 600, 5, 40


@pytest.fixture
def embeddings(tmp_path):
    store = Store.create(tmp_path / "embeddings", "embeddings", {})
    for shard in range(SHARDS):
        store.write_shard(shard, pa.table({"id": np.arange(shard, IMAGES, SHARDS)}))
    store.finish(SHARDS)
    return store


def _chain():
    """Return pairs of pictures that are near in an order which their ids hide."""
    order = np.random.default_rng(2).permutation(IMAGES)
    ends = [(order[:-step], order[step:]) for step in (1, 2)]
    one, other = (np.concatenate(end) for end in zip(*ends, strict=True))
    a, b = np.minimum(one, other), np.maximum(one, other)
    by_id = np.lexsort((b, a))
    return a[by_id], b[by_id]


def test_each_pair_is_there_once_with_its_shards(embeddings):
    a, b = _chain()
    laid = laid_out((a, b), embeddings)
    found = sorted(zip(laid["a"].to_pylist(), laid["b"].to_pylist(), strict=True))
    assert found == list(zip(a.tolist(), b.tolist(), strict=True))
    for side in ("a", "b"):
        assert (laid[f"{side}_shard"].to_numpy() == laid[side].to_numpy() % SHARDS).all()


def test_neighbouring_pairs_have_few_pictures(embeddings):
    laid = laid_out(_chain(), embeddings)
    parts = [laid.slice(start, NEAR) for start in range(0, laid.num_rows, NEAR)]
    pictures = [len(np.union1d(part["a"].to_numpy(), part["b"].to_numpy())) for part in parts]
    assert max(pictures) <= NEAR // 2 + 4


def test_a_picture_that_is_in_no_shard_is_told_apart(embeddings):
    laid = laid_out((np.array([3, 4]), np.array([4, IMAGES])), embeddings)
    shards = dict(zip(laid["b"].to_pylist(), laid["b_shard"].to_pylist(), strict=True))
    assert shards == {4: 4, IMAGES: -1}
