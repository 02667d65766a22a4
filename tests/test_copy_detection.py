import numpy as np
import pyarrow as pa
import pytest

from pipeline.copy_detection import (
    copies_by_transform,
    known_pairs,
    micro_average_precision,
    recall_at_precision,
)

TRUTH = pa.table(
    {
        "id": [4, 1, 2, 3, 9],
        "scene": [0, 0, 0, 1, 1],
        "transform": ["original", "crop", "flip", "original", "crop"],
    }
)


def test_micro_ap_is_the_area_under_the_steps():
    scores, copies = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True])
    wanted = (1 / 1 + 2 / 3 + 3 / 4) / 5
    assert micro_average_precision(scores, copies, 5) == pytest.approx(wanted)
    assert micro_average_precision(scores[::-1], copies[::-1], 5) == pytest.approx(wanted)
    assert recall_at_precision(scores, copies, 5, 0.9) == pytest.approx(1 / 5)
    assert recall_at_precision(scores, copies, 5, 0.7) == pytest.approx(3 / 5)


def test_equal_scores_come_in_together():
    scores = np.array([0.9, 0.9])
    for copies in ([True, False], [False, True]):
        assert micro_average_precision(scores, np.array(copies), 1) == pytest.approx(0.5)


def test_nothing_found_scores_nothing():
    assert micro_average_precision(np.empty(0), np.empty(0, bool), 3) == 0
    assert recall_at_precision(np.empty(0), np.empty(0, bool), 3, 0.9) == 0


def test_pairs_are_counted_by_transform():
    assert known_pairs(TRUTH) == 3 + 1
    pairs = pa.table({"a": [1, 1, 3, 2], "b": [4, 3, 9, 9]})
    crop, flip = copies_by_transform(pairs, TRUTH)
    assert (crop.transform, crop.pairs, crop.copies, crop.found, crop.known) == ("crop", 4, 2, 2, 2)
    assert (flip.transform, flip.pairs, flip.copies, flip.found, flip.known) == ("flip", 1, 0, 0, 1)
