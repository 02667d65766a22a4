import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.groups import group_pairs
from pipeline.dedup.identical_sets import PAIRS, set_pairs


def tables(pairs, pixels):
    a, b = zip(*sorted(pairs), strict=True) if pairs else ((), ())
    columns = (a, b, [0.9] * len(a), [False] * len(a))
    images = {"id": list(pixels), "pixels": list(pixels.values())}
    paired = pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS)
    return set_pairs(paired), pa.table(images)


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_most_pixels_survive_then_the_lowest_id():
    pairs, images = tables({(1, 5), (1, 9), (5, 9)}, {9: 40, 5: 90, 1: 90})
    assert rows(group_pairs(pairs, images, "survivor")) == [
        (1, 1, True, 90),
        (1, 5, False, 90),
        (1, 9, False, 40),
    ]


def test_the_strict_rule_ends_a_chain_and_components_follow_it():
    pairs, images = tables({(1, 2), (2, 3), (3, 4)}, dict.fromkeys((1, 2, 3, 4), 10))
    strict = group_pairs(pairs, images, "survivor")
    assert rows(strict.select(["group", "id"])) == [(1, 1), (1, 2), (3, 3), (3, 4)]
    chain = group_pairs(pairs, images, "components")
    assert rows(chain.select(["group", "id"])) == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_an_image_whose_partners_were_all_taken_is_in_no_group():
    pairs, images = tables({(1, 2), (2, 3)}, {1: 10, 2: 10, 3: 10})
    assert group_pairs(pairs, images, "survivor")["id"].to_pylist() == [1, 2]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60), st.integers(0, 99))
def test_every_member_is_paired_with_its_survivor(drawn, seed):
    pairs = {(min(p), max(p)) for p in drawn if p[0] != p[1]}
    rng = np.random.default_rng(seed)
    pixels = {n: int(rng.integers(1, 4)) for n in range(31)}
    table, images = tables(pairs, pixels)
    found = group_pairs(table, images, "survivor").to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    for row in found:
        group, number = row["group"], row["id"]
        assert row["survivor"] == (group == number)
        assert group == number or (min(group, number), max(group, number)) in pairs
        assert (-pixels[group], group) <= (-pixels[number], number)
    kept = {n for p in pairs for n in p} - {r["id"] for r in found if not r["survivor"]}
    assert not {p for p in pairs if set(p) <= kept}, "two images that are kept are near-duplicates"
