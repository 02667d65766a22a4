"""What verdicts on pairs drawn at random prove holds, whatever is right among all pairs."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dedup.identical_sets import PAIRS, set_pairs
from pipeline.dedup.judged import DRAWN, drawn_pairs, judged_precision, least_right, verdicts_on


def _looks(rng, pairs, same=0):
    ids = np.sort(rng.integers(-(2**62), 2**62, 2 * pairs))
    why = ["same bytes"] * same + ["recoloured"] * (pairs - same)
    return pa.table({"a": ids[:pairs], "b": ids[pairs:], "why": why})


def _sets(looks):
    rows = [looks["a"], looks["b"], pa.array(np.ones(len(looks))), pa.repeat(False, len(looks))]
    return set_pairs(pa.table(rows, schema=PAIRS))


def _verdicts(drawn, right):
    return pa.table({"a": drawn["a"], "b": drawn["b"], "duplicate": right})


@pytest.mark.parametrize(("pairs", "wrong"), [(150, 3), (2000, 20)])
def test_the_precision_that_is_proven_is_had_in_all_but_one_trial_of_twenty(pairs, wrong):
    broken, proven = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        looks = _looks(rng, pairs)
        right = np.ones(pairs, np.bool_)
        right[rng.permutation(pairs)[:wrong]] = False
        drawn = drawn_pairs(looks)
        verdicts = _verdicts(drawn, right[np.searchsorted(looks["a"], drawn["a"])])
        found = judged_precision(looks, verdicts, _sets(drawn), 0.95)
        proven.append(found.precision)
        broken += found.precision > right.mean()
    assert broken <= 17  # ten are expected at most; more than 17, of one time in a hundred
    assert np.mean(proven) > 1 - wrong / pairs - 0.07


def test_as_chance_draws_it_is_not_the_sure_that_are_judged():
    looks = _looks(np.random.default_rng(1), 2000)
    rows = np.isin(looks["a"].to_numpy(), drawn_pairs(looks)["a"].to_numpy()).nonzero()[0]
    assert len(rows) == DRAWN
    assert 800 < rows.mean() < 1200
    assert drawn_pairs(looks.take(np.arange(2000)[::-1])).equals(drawn_pairs(looks))


def test_nothing_is_proven_before_all_that_are_drawn_are_judged():
    looks = _looks(np.random.default_rng(2), 500, same=100)
    drawn = drawn_pairs(looks)
    assert "same bytes" not in drawn["why"].to_pylist()
    some = _verdicts(drawn.slice(0, 99), [True] * 99)
    found = judged_precision(looks, some, _sets(looks), 0.95)
    assert (found.judged, found.right, found.precision) == (99, 99, 0.2)
    found = judged_precision(looks, _verdicts(drawn, [True] * 100), _sets(looks), 0.95)
    assert found.precision == (100 + least_right(400, 100, 100, 0.95)) / 500


def test_where_all_are_judged_all_is_known():
    looks = _looks(np.random.default_rng(3), 40)
    drawn = drawn_pairs(looks)
    verdicts = _verdicts(drawn, [True] * 38 + [False] * 2)
    assert judged_precision(looks, verdicts, _sets(looks), 0.95).precision == 38 / 40
    none = looks.slice(0, 0)
    assert judged_precision(none, verdicts, _sets(looks), 0.95).drawn == 0


def test_a_verdict_on_images_of_identical_sets_counts_for_those_that_stand_for_them():
    rows = [(1, 2, 0.9, False), (1, 5, 1.0, True), (2, 6, 1.0, True)]
    columns = dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True))
    sets = set_pairs(pa.table(columns, schema=PAIRS))
    pairs = pa.table({"a": [1, 3], "b": [2, 4]})
    verdicts = pa.table({"a": [5], "b": [6], "duplicate": [False]})
    assert verdicts_on(pairs, verdicts, sets).to_pylist() == [False, None]
