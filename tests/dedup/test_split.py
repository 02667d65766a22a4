"""No group of a corrected split lies on both sides, and its sides are what they were."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.identical_sets import PAIRS, set_pairs
from pipeline.dedup.split import corrected_split, split_change, split_tables


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_groups_stay_whole_and_as_many_of_each_label_on_each_side(seed, kinds):
    rng = np.random.default_rng(seed)
    groups = rng.integers(1, 60, size=80)
    alone = np.arange(1000, 1800)  # enough in no pair, of every label
    groups = np.concatenate([groups, alone])
    labels = rng.integers(kinds, size=len(groups))
    test = rng.random(len(groups)) < 0.4
    new = corrected_split(groups, test, labels, seed)
    for group in np.unique(groups):
        assert len(set(new[groups == group].tolist())) == 1
    assert split_change(test, new, labels) == (0, 0)
    torn = [g for g in np.unique(groups) if len(set(test[groups == g].tolist())) == 2]
    fewest = sum(min(test[groups == g].sum(), (~test)[groups == g].sum()) for g in torn)
    assert (new != test).sum() <= 2 * fewest
    assert np.array_equal(new, corrected_split(groups, test, labels, seed))


def test_where_no_single_image_can_come_back_whole_groups_do():
    groups = np.array([1, 1, 1, 2, 2, 3, 3, 3])
    test = np.array([0, 0, 1, 0, 0, 1, 1, 1], bool)
    labels = np.zeros(8, np.int64)
    new = corrected_split(groups, test, labels, 0)
    assert new.tolist() == [False, False, False, False, False, True, True, True]
    size, share = split_change(test, new, labels)
    assert (size, share) == (0.25, 0)


def test_the_tables_name_sides_and_labels_that_disagree():
    rows = [(1, 4, 0.9, False), (2, 5, 0.9, False), (3, 6, 0.9, False)]
    pairs = pa.table(dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True)), schema=PAIRS)
    keys = [f"{n}.jpg" for n in range(1, 9)]
    images = pa.table(
        {
            "id": list(range(1, 9)),
            "key": keys,
            "path": [f"/photos/{key}" for key in keys],
            "label": ["cat", "dog", "cat", "dog", "dog", None, "dog", "cat"],
            "test": [False, False, False, True, True, True, False, False],
        }
    )
    split, labels, new = split_tables(images, set_pairs(pairs), 0)
    assert split["key"].to_pylist() == keys
    sides = dict(zip(keys, split["side"].to_pylist(), strict=True))
    assert all(sides[f"{a}.jpg"] == sides[f"{b}.jpg"] == "train" for a, b, *_ in rows)
    assert sides["7.jpg"] == "test"
    before = ["test" if test else "train" for test in images["test"].to_pylist()]
    after = split["side"].to_pylist()
    assert split["moved"].to_pylist() == [a != b for a, b in zip(after, before, strict=True)]
    assert new.sum() == 1
    assert labels.to_pylist() == [
        {
            "group": "1.jpg",
            "key": "1.jpg",
            "path": "/photos/1.jpg",
            "side": "train",
            "label": "cat",
        },
        {"group": "1.jpg", "key": "4.jpg", "path": "/photos/4.jpg", "side": "test", "label": "dog"},
    ]
