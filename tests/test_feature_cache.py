import numpy as np
import pytest

from pipeline.errors import StoreError
from pipeline.feature_cache import FeatureCache, rows_of


def test_what_was_added_is_there_and_the_rest_is_not(tmp_path):
    cache = FeatureCache(tmp_path, "cnn", 3)
    assert cache.read(7)[1].shape == (0, 3)
    cache.add(7, np.array([4, 2]), np.array([[4] * 3, [2] * 3], np.float32))
    cache.add(7, np.array([9]), np.array([[9] * 3], np.float32))
    cache.add(8, np.array([1]), np.array([[1] * 3], np.float32))
    ids, features = FeatureCache(tmp_path, "cnn", 3).read(7)
    assert sorted(ids.tolist()) == [2, 4, 9]
    assert rows_of(np.array([9, 2]), ids, features)[:, 0].tolist() == [9, 2]


def test_only_what_is_missing_is_made(tmp_path):
    cache, asked = FeatureCache(tmp_path, "cnn", 2), []

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


def test_half_a_segment_of_a_crash_counts_as_nothing(tmp_path):
    cache = FeatureCache(tmp_path, "cnn", 1)
    cache.add(0, np.array([1]), np.array([[1]], np.float32))
    (tmp_path / "cnn" / "000000" / ".000001.parquet.tmp-7").write_bytes(b"half")
    assert cache.read(0)[0].tolist() == [1]


def test_a_damaged_segment_is_told(tmp_path):
    cache = FeatureCache(tmp_path, "cnn", 1)
    cache.add(0, np.array([1]), np.array([[1]], np.float32))
    path = tmp_path / "cnn" / "000000" / "000000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"000000\.parquet cannot be read"):
        cache.read(0)
