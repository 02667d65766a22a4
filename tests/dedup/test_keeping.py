import pyarrow as pa

from pipeline.dedup.keeping import keeping_order, preferred
from pipeline.dedup.looked import with_changes


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


def looks_at(pairs, told):
    """Looks at ``pairs`` of ids; what ``told`` of (a, b) says is so of a, nothing else."""
    columns = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    for name in ("cropped", "changed", "stretched", "coarser", "camera"):
        columns[f"a_{name}"] = [name in told.get((a, b), {}) for a, b in pairs]
        columns[f"b_{name}"] = [False] * len(pairs)
    for name, usual in (("turned", False), ("recoloured", False), ("stretch", 1.0)):
        columns[name] = [told.get((a, b), {}).get(name, usual) for a, b in pairs]
    columns["a_own"] = [told.get((a, b), {}).get("own", 1.0) for a, b in pairs]
    columns["b_own"] = [1.0] * len(pairs)
    return pa.table(columns)


def test_one_look_of_many_may_be_mistaken_and_of_few_each_counts():
    images = pa.table({"id": list(range(1, 40)), "pixels": [100] * 39})
    photo = [(1, other) for other in range(3, 40)]
    crop = [(2, other) for other in range(3, 40)]
    told = {photo[0]: {"cropped", "camera"}, photo[1]: {"changed"}}
    told = {pair: dict.fromkeys(names, True) for pair, names in told.items()}
    told[photo[2]] = {"own": 0.5}
    told |= {pair: {"cropped": True, "own": 0.8} for pair in crop[:30]}
    changed = with_changes(images, looks_at(photo + crop, told)).to_pylist()
    assert [changed[0][name] for name in ("uncropped", "unchanged", "camera")] == [True] * 3
    assert (changed[0]["own"], changed[0]["pixels"]) == (1.0, 100)
    assert not changed[1]["uncropped"]
    assert (changed[1]["own"], changed[1]["pixels"]) == (0.8, 80)
    none = pa.Table.from_batches([], looks_at(photo, told).schema)
    none = with_changes(images, none).to_pylist()
    assert (none[0]["uncropped"], none[0]["own"]) == (True, 1.0)
    few = with_changes(images, looks_at(photo[:3], told)).to_pylist()
    assert (few[0]["uncropped"], few[0]["own"]) == (False, 0.5)
    assert few[5]["uncropped"]


def test_what_a_look_does_not_know_is_no_evidence():
    images = pa.table({"id": list(range(9)), "pixels": [100] * 9})
    looks = looks_at([(0, other) for other in range(1, 9)], {(0, 1): {"coarser": True}})
    unknown = looks["a_coarser"].to_pylist()[:1] + [None] * 7
    place = looks.column_names.index("a_coarser")
    looks = looks.set_column(place, "a_coarser", pa.array(unknown, pa.bool_()))
    assert not with_changes(images, looks)["finest"][0].as_py()


def test_what_differs_from_most_others_is_the_changed_one_and_stretching_adds_no_pixels():
    pairs = [(1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)]
    images = pa.table({"id": [1, 2, 3, 4], "pixels": [100, 130, 100, 100]})
    odd = {2: {"stretch": 1.3}, 3: {"recoloured": True}, 4: {"turned": True}}
    told = {pair: {k: v for end in pair for k, v in odd.get(end, {}).items()} for pair in pairs}
    changed = with_changes(images, looks_at(pairs, told))
    assert changed["usual"].to_pylist() == [True, True, False, False]
    assert changed["pixels"].to_pylist() == [100, 97, 100, 100]
    assert keeping_order(changed)[0] == 0
    two = with_changes(images, looks_at([(1, 3)], told))  # where neither is the odd one
    assert two["usual"].to_pylist() == [False, True, False, True]


def test_a_higher_quality_counts_among_pictures_of_one_size():
    images = pa.table({"id": [1, 2, 3], "pixels": [100, 60, 100]})
    looks = looks_at([(1, 2)], {(1, 2): {"coarser": True}})
    assert with_changes(images, looks)["finest"].to_pylist() == [True] * 3
    looks = looks_at([(1, 3)], {(1, 3): {"coarser": True}})
    assert with_changes(images, looks)["finest"].to_pylist() == [False, True, True]
