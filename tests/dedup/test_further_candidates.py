"""What is looked at beside the join's candidates: who belongs together by looks that are sure."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow as pa

from pipeline.dedup import second_look
from pipeline.dedup.identical_sets import pairs_table
from pipeline.dedup.look import shipped_weights
from pipeline.dedup.look_shard import LOOKS
from pipeline.dedup.second_look import FULLY_PAIRED, SHARING, further_candidates


def _further(pairs, images):
    ends = list(zip(*sorted(set(pairs)), strict=True))
    looks = pa.table({"a": ends[0], "b": ends[1], "sure": np.ones(len(ends[0]))})
    images = pa.table({"id": np.arange(images), "pixels": np.full(images, 100)})
    return set(zip(*(ends.tolist() for ends in further_candidates(looks, images)), strict=True))


def _ring(first, count, reach):
    """Pairs (a, b) of each of ``count`` ids from ``first`` on with the next ``reach`` of a ring."""
    steps = [(n, (n + step) % count) for n in range(count) for step in range(1, reach + 1)]
    return [(first + min(pair), first + max(pair)) for pair in steps]


def test_of_a_small_group_all_pairs_are_looked_at():
    assert _further([(2, 5), (5, 7), (1, 9)], 10) == {(1, 9), *combinations((2, 5, 7), 2)}


def test_two_groups_that_one_image_joins_are_each_looked_at_in_themselves():
    half = FULLY_PAIRED // 2 + 4
    assert half <= SHARING
    collage = 2 * half
    one, other = (_ring(first, half, 10) for first in (0, half))
    bridge = [(n, collage) for n in range(2 * half)]
    asked = _further(one + other + bridge, collage + 1)
    within = {pair for first in (0, half) for pair in combinations(range(first, first + half), 2)}
    assert within <= asked
    assert len(asked) < (2 * half + 1) * SHARING
    assert _further(one, half) == set(combinations(range(half), 2))


def test_of_a_large_group_each_is_looked_at_with_as_few():
    images = 20 * SHARING
    asked = _further(_ring(0, images, SHARING), images)
    assert len(asked) <= images * (SHARING + 1)
    assert {(0, n) for n in range(1, images)} <= asked


def test_a_crop_among_whose_nearest_all_are_copies_of_one_photo_is_found(monkeypatch):
    crop, images = 6, 40
    a, b = np.triu_indices(images, 1)
    near = np.where(b < crop, 0.95, np.where((a < crop) & (b == crop), 0.7, 0.2))
    pairs = pairs_table(a, b, near, np.zeros(len(a), np.bool_))

    def looks(*asked):
        pairs = zip(*(ends.tolist() for ends in asked[4]), strict=True)
        sure = {0.95: 0.99999, 0.7: 0.999, 0.2: 1e-6}
        score = dict(zip(zip(a.tolist(), b.tolist(), strict=True), near.tolist(), strict=True))
        rows = [{"a": x, "b": y, "sure": sure[score[x, y]]} for x, y in pairs]
        rows = [{**row, "alike": (1 - row["sure"]) / 2} for row in rows]
        return pa.Table.from_pylist(rows, LOOKS)

    monkeypatch.setattr(second_look, "look_again", looks)
    known = pa.table({"id": np.arange(images), "pixels": np.full(images, 100)})
    none = pa.table({"a": np.empty(0, np.int64), "b": np.empty(0, np.int64)})
    asked = (pairs, none, known, None, 0.99, None, 0.95, 0.85)
    found = second_look.look_at_candidates(None, None, None, None, *asked)
    kept = zip(*(found.looks[end].to_pylist() for end in ("a", "b")), strict=True)
    assert set(kept) == set(combinations(range(crop + 1), 2))


def test_looks_by_other_weights_or_of_another_version_are_no_more(tmp_path, monkeypatch):
    weights = shipped_weights()
    looks = tmp_path / second_look.FOLDER / f"{second_look._rule(weights)}abc" / "looks"
    looks.mkdir(parents=True)
    (looks / "manifest.json").touch()
    assert second_look.finished_passes(tmp_path, weights) == [looks.parent]
    assert second_look.finished_passes(tmp_path, replace(weights, best=weights.whole)) == []
    monkeypatch.setattr(second_look, "VERSION", second_look.VERSION + 1)
    assert second_look.finished_passes(tmp_path, weights) == []
