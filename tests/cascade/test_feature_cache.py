import numpy as np
import pytest

from pipeline.cascade.feature_cache import FeatureCache
from pipeline.core.errors import StoreError
from pipeline.core.store import Store
from pipeline.core.tables import rows_of
from tests.helpers.files import flips_one_bit_of_every_byte


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "features", "features", {})


def test_what_was_added_is_there_and_the_rest_is_not(store):
    cache = FeatureCache(store, "cnn", 3)
    assert cache.read(7)[1].shape == (0, 3)
    cache.add(7, np.array([4, 2]), np.array([[4] * 3, [2] * 3], np.float32))
    cache.add(7, np.array([9]), np.array([[9] * 3], np.float32))
    cache.add(8, np.array([1]), np.array([[1] * 3], np.float32))
    ids, features = FeatureCache(Store.open(store.root), "cnn", 3).read(7)
    assert sorted(ids.tolist()) == [2, 4, 9]
    assert rows_of(np.array([9, 2]), ids, features)[:, 0].tolist() == [9, 2]


def test_only_what_is_missing_is_made(store):
    cache, asked = FeatureCache(store, "cnn", 2), []

    def make(ids):
        asked.append(ids.tolist())
        return np.repeat(ids[:, None], 2, axis=1).astype(np.float32)

    for wanted, made in (([5, 3], 2), ([3, 8, 5], 1), ([8], 0)):
        features, count = cache.get(0, np.array(wanted), make)
        assert (features[:, 1].tolist(), count) == (wanted, made)
    assert asked == [[3, 5], [8]]


def test_an_image_that_is_not_there_is_an_error_never_another_ones_row():
    known, values = np.array([9, 4]), np.array([[9.0], [4.0]])
    with pytest.raises(StoreError, match="image 7 and 1 more"):
        rows_of(np.array([4, 7, 12]), known, values)


def segment(store, shard=0, number=0):
    return store.root / "attached" / "cnn" / f"{shard:06d}" / f"{number:06d}.parquet"


def test_a_segment_whose_record_a_crash_prevented_counts_as_nothing(store):
    cache = FeatureCache(store, "cnn", 1)
    cache.add(0, np.array([1]), np.array([[1]], np.float32))
    segment(store, number=1).write_bytes(b"half")
    assert cache.read(0)[0].tolist() == [1]
    cache.add(0, np.array([2]), np.array([[2]], np.float32))
    assert sorted(cache.read(0)[0].tolist()) == [1, 2]


def test_every_changed_bit_of_a_segment_is_told(store):
    cache, ids = FeatureCache(store, "cnn", 2), np.array([7, 9])
    cache.add(0, ids, np.array([[1, 2], [3, 4]], np.float32))
    store.finish(0)
    for _ in flips_one_bit_of_every_byte(segment(store)):
        with pytest.raises(StoreError, match=r"cnn/000000/000000\.parquet .* delete it"):
            cache.read(0)
        assert len(list(store.problems())) == 1
    assert cache.read(0)[1].tolist() == [[1, 2], [3, 4]]


def test_a_segment_deleted_with_its_record_is_made_again_and_no_other_is_lost(store):
    cache = FeatureCache(store, "cnn", 1)
    for number in range(3):
        cache.add(0, np.array([number]), np.array([[number]], np.float32))
    for path in (segment(store, number=1), segment(store, number=1).with_suffix(".parquet.json")):
        path.unlink()
    features, made = cache.get(0, np.arange(3), lambda ids: ids[:, None].astype(np.float32))
    assert (features[:, 0].tolist(), made) == ([0, 1, 2], 1)
    assert sorted(cache.read(0)[0].tolist()) == [0, 1, 2]
