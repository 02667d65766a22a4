import numpy as np
import pyarrow as pa
import pytest

from pipeline.search.copy_recall import CopyRecall, copy_recall

TRUTH = pa.table(
    {
        "id": [0, 1, 2, 3, 4, 5],
        "scene": [0, 0, 0, 1, 1, 2],
        "transform": ["original", "crop", "flip", "original", "crop", "original"],
        "passes": [True] * 6,
    }
)


def test_found_and_missed_copies_are_counted_by_transform():
    found = np.array([[1, 7], [9, 8]])
    rows = {row.transform: row for row in copy_recall(np.array([0, 3]), found, found != 7, TRUTH)}
    assert (rows["all"].found, rows["all"].known) == (1, 3)
    assert (rows["crop"].found, rows["crop"].known) == (1, 2)
    assert (rows["flip"].found, rows["flip"].known) == (0, 1)


def test_what_is_not_there_is_no_copy():
    there = np.array([[False, True]])
    (row, *_) = copy_recall(np.array([0]), np.array([[1, 2]]), there, TRUTH)
    assert (row.found, row.known) == (1, 2)


def test_what_does_not_pass_is_no_copy_to_be_found():
    truth = TRUTH.set_column(3, "passes", [[False, True, False, True, True, True]])
    found = np.array([[1, 7]])
    (row, *_) = copy_recall(np.array([0]), found, np.ones((1, 2), bool), truth)
    assert (row.found, row.known) == (1, 1)


def test_a_scene_of_more_copies_than_k_counts_k():
    (row, *_) = copy_recall(np.array([0]), np.array([[2]]), np.array([[True]]), TRUTH)
    assert (row.k, row.found, row.known) == (1, 1, 1)


def test_a_query_without_copies_says_nothing():
    assert copy_recall(np.array([5]), np.array([[0, 1]]), np.ones((1, 2), bool), TRUTH) == []


def test_the_interval_is_clopper_pearsons():
    assert CopyRecall("all", 10, 8, 10).interval() == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert CopyRecall("all", 10, 0, 10).interval()[0] == 0
    assert CopyRecall("all", 10, 10, 10).interval() == pytest.approx((0.6915, 1), abs=1e-4)
