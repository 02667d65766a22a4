import numpy as np
import pytest

from pipeline.core.store import Store
from pipeline.dedup.partitions import PartitionSettings, grown_partitions
from pipeline.index.grid import whole_space
from pipeline.index.partitions import Partitions
from tests.helpers import scenes

SETTINGS = PartitionSettings(5, 1, assignments=3, partition_rows=300, sample=8, seed=0)


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "dedup", "pairs", {})


def test_the_first_images_fix_the_partitions_and_later_ones_are_a_generation(tmp_path, store):
    scenes.synthetic(tmp_path / "embeddings", shards=1)
    embeddings = Store.open(tmp_path / "embeddings")
    first = grown_partitions(store, embeddings, SETTINGS)
    assert (first.grid.buckets, first.count, first.generations) == (5, 2, (1,))
    scenes.synthetic(tmp_path / "embeddings")
    for _ in range(2):
        grown = grown_partitions(store, Store.open(tmp_path / "embeddings"), SETTINGS)
        assert (grown.count, grown.generations, grown.parts) == (2, (1, 4), 4)
        assert np.array_equal(grown.grid.cells, first.grid.cells)


def test_what_a_crash_left_half_kept_is_made_anew(store):
    partitions = Partitions(whole_space(3), 1).with_shards(2)
    assert Partitions.kept(store) is None
    partitions.keep(store)
    assert Partitions.kept(store).generations == (2,)
    (store.root / "attached" / "generations.npy.json").unlink()
    assert Partitions.kept(store).with_shards(2).generations == (2,)
    (store.root / "attached" / "partitions.npy.json").unlink()
    assert Partitions.kept(store) is None
    partitions.keep(store)
    assert Partitions.kept(store).count == 1


def test_few_images_are_compared_all_with_all_and_many_in_the_square_roots_buckets(tmp_path):
    scenes.synthetic(tmp_path / "embeddings", shards=1)
    embeddings = Store.open(tmp_path / "embeddings")
    for most, buckets in ((scenes.ROWS, 1), (scenes.ROWS - 1, 14)):
        store = Store.create(tmp_path / str(most), "pairs", {})
        settings = PartitionSettings(None, most, 3, 300, sample=8, seed=0)
        assert grown_partitions(store, embeddings, settings).grid.buckets == buckets
