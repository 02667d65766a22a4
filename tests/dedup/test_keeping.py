import pyarrow as pa

from pipeline.dedup.keeping import keeping_order, preferred


def test_each_key_decides_where_those_before_it_do_not():
    images = pa.table(
        {
            "id": [1, 2, 3, 4, 5, 6, 7],
            "preferred": [False] * 6 + [True],
            "whole": [False, True, True, True, True, True, False],
            "pixels": [99, 50, 60, 60, 60, 60, 1],
            "bytes": [9, 9, 7, 8, 8, 8, 1],
            "modified": [1, 1, 1, 5, 4, 4, 1],
            "key": list("abcdfeg"),
        }
    )
    assert images["id"].take(pa.array(keeping_order(images))).to_pylist() == [7, 6, 5, 4, 3, 2, 1]


def test_where_looks_tell_what_is_finest_the_older_one_is_kept_before_the_larger():
    images = pa.table(
        {"id": [1, 2, 3], "bytes": [5, 9, 7], "modified": [1, 2, 0], "finest": [True, True, False]}
    )
    assert keeping_order(images).tolist() == [0, 1, 2]
    assert keeping_order(images.drop_columns(["finest"])).tolist() == [1, 2, 0]


def test_what_is_not_known_decides_nothing_or_comes_last():
    images = pa.table({"id": [3, 1, 2], "bytes": pa.array([None, 5, 9], pa.int64())})
    assert keeping_order(images).tolist() == [2, 1, 0]
    assert keeping_order(images.select(["id"])).tolist() == [1, 2, 0]


def test_a_name_is_preferred_by_stars_and_question_marks_alone():
    keys = pa.chunked_array([["originals/a.jpg", "copies/originals/a.jpg"], ["a_1.jpg", "ab1.jpg"]])
    assert preferred(keys, ["originals/*"]).to_pylist() == [True, False, False, False]
    assert preferred(keys, ["a_1*", "*s/?.jpg"]).to_pylist() == [True, True, True, False]
    assert preferred(keys, ["100%"]).to_pylist() == [False] * 4
    assert preferred(keys, []).to_pylist() == [False] * 4
