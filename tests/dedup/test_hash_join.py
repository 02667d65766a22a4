"""The join by hashes: pictures near in any orientation meet, whatever index holds them."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.dedup import hash_join
from pipeline.dedup.hash_join import HashPlan, require_hashes
from pipeline.images.perceptual_hash import distances, oriented


def _store(root, hashes, shards=3):
    store = Store.create(root, "embeddings", {"model": "made"})
    ids = np.random.default_rng(0).permutation(len(hashes)).astype(np.int64) * 7 - 50
    for shard, rows in enumerate(np.array_split(np.arange(len(hashes)), shards)):
        store.write_shard(shard, pa.table({"id": ids[rows], "hash": hashes[rows]}))
    store.finish(shards)
    return store, ids


def _pairs(store):
    join = HashPlan(store.root, doubtful=True).start()
    tables = [join(entry.shard) for entry in store.manifest()]
    a, b = (np.concatenate([flat_column(table, name) for table in tables]) for name in ("a", "b"))
    return {(min(one, other), max(one, other)) for one, other in zip(a, b, strict=True)}


@pytest.mark.parametrize("few", [20_000, 10])
def test_turned_copies_meet_and_others_do_not(tmp_path, monkeypatch, few):
    monkeypatch.setattr(hash_join, "FEW", few)
    rng = np.random.default_rng(5)
    hashes = rng.integers(-(2**62), 2**62, 40) & ~np.int64(128)
    copies = oriented(hashes)[rng.integers(0, 8, 40), np.arange(40)]
    flipped = copies ^ (np.int64(1) << rng.integers(8, 62, 40)) ^ (np.int64(1) << 62)
    hashes = np.concatenate([hashes, flipped])
    store, ids = _store(tmp_path / "e", hashes)
    far = distances(oriented(hashes)[:, :, None], hashes[None, None, :]).min(axis=0)
    near = np.argwhere(far <= (hash_join.FARTHEST if few > 10 else 7))
    true = {(min(ids[a], ids[b]), max(ids[a], ids[b])) for a, b in near if a != b}
    assert {tuple(sorted(pair)) for pair in zip(ids[:40], ids[40:], strict=True)} <= true
    assert true <= _pairs(store)


def test_many_pictures_of_one_hash_are_as_many_pairs(tmp_path):
    store, ids = _store(tmp_path / "e", np.full(500, 12345, np.int64))
    found = _pairs(store)
    assert len(found) == 499
    assert {min(pair) for pair in found} == {ids.min()}


def test_a_store_without_hashes_is_refused_with_what_helps(tmp_path):
    store = Store.create(tmp_path, "embeddings", {"model": "made"})
    store.write_shard(0, pa.table({"id": [1]}))
    store.finish(1)
    with pytest.raises(InputError, match="--similarity"):
        require_hashes(store)
    require_hashes(_store(tmp_path / "with", np.arange(9))[0])
