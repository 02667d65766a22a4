import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.copy_quality import (
    copies_by_transform,
    copy_quality,
    known_pairs,
    micro_average_precision,
    recall_at_precision,
)
from pipeline.dedup.identical_sets import PAIRS, every_pair, set_pairs

TRUTH = pa.table(
    {
        "id": [4, 1, 2, 3, 9],
        "scene": [0, 0, 0, 1, 1],
        "transform": ["original", "crop", "flip", "original", "crop"],
    }
)


def sets_of(*rows):
    columns = [[row[place] for row in rows] for place in range(4)]
    return set_pairs(pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS))


def test_micro_ap_is_the_area_under_the_steps():
    scores, copies = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 1])
    one = np.ones(4, np.int64)
    wanted = (1 / 1 + 2 / 3 + 3 / 4) / 5
    assert micro_average_precision(scores, copies, one, 5) == pytest.approx(wanted)
    assert micro_average_precision(scores[::-1], copies[::-1], one, 5) == pytest.approx(wanted)
    assert recall_at_precision(scores, copies, one, 5, 0.9) == pytest.approx(1 / 5)
    assert recall_at_precision(scores, copies, one, 5, 0.7) == pytest.approx(3 / 5)


def test_equal_scores_come_in_together():
    scores = np.array([0.9, 0.9])
    for copies in ([1, 0], [0, 1]):
        assert micro_average_precision(
            scores, np.array(copies), np.ones(2, int), 1
        ) == pytest.approx(0.5)
    assert micro_average_precision(scores[:1], np.array([1]), np.array([2]), 1) == 0.5


def test_nothing_found_scores_nothing():
    none = np.empty(0, np.int64)
    assert micro_average_precision(np.empty(0), none, none, 3) == 0
    assert recall_at_precision(np.empty(0), none, none, 3, 0.9) == 0
    quality = copy_quality(sets_of(), TRUTH)
    assert (quality.known, quality.pairs, quality.copies) == (4, 0, 0)
    assert [row.pairs for row in copies_by_transform(sets_of(), TRUTH)] == [0, 0]


def test_pairs_are_counted_by_transform():
    assert known_pairs(TRUTH) == 3 + 1
    pairs = sets_of(*((a, b, 0.9, False) for a, b in ((1, 4), (1, 3), (3, 9), (2, 9))))
    crop, flip = copies_by_transform(pairs, TRUTH)
    assert (crop.transform, crop.pairs, crop.copies, crop.found, crop.known) == ("crop", 4, 2, 2, 2)
    assert (flip.transform, flip.pairs, flip.copies, flip.found, flip.known) == ("flip", 1, 0, 0, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 12), st.sampled_from([1, 7]))
def test_sets_give_the_figures_of_all_their_pairs(seed, images, sets, at_once):
    rng = np.random.default_rng(seed)
    set_of = rng.integers(sets, size=images)
    first = {int(s): int(np.flatnonzero(set_of == s)[0]) for s in np.unique(set_of)}
    within = rng.choice([0.4, 0.7, 1.0], sets)
    rows = [
        (first[s], number, within[s], True)
        for number, s in enumerate(set_of.tolist())
        if first[s] != number
    ]
    for a in first.values():
        for b in first.values():
            if a < b and rng.random() < 0.5:
                rows.append((a, b, float(rng.choice([0.6, 0.7, 0.8])), False))
    kinds = np.array(["original", "crop", "flip"])[rng.integers(3, size=images)].tolist()
    scenes = rng.integers(4, size=images)
    truth = pa.table({"id": np.arange(images), "scene": scenes, "transform": kinds})
    by_sets = sets_of(*rows)
    listed = every_pair(by_sets)
    single = listed.set_column(3, "identical", pa.array(np.zeros(listed.num_rows, bool)))
    alone = set_pairs(single)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.dedup.copy_quality.LOOKED_UP", at_once)
        assert copies_by_transform(by_sets, truth) == copies_by_transform(alone, truth)
        quality, wanted = copy_quality(by_sets, truth), copy_quality(alone, truth)
    same = scenes[listed["a"].to_numpy()] == scenes[listed["b"].to_numpy()]
    assert (quality.pairs, quality.copies) == (listed.num_rows, same.sum())
    assert (quality.known, quality.pairs, quality.copies) == (
        wanted.known,
        wanted.pairs,
        wanted.copies,
    )
    assert quality.micro_ap == pytest.approx(wanted.micro_ap)
    assert quality.recall_at_90 == pytest.approx(wanted.recall_at_90)
