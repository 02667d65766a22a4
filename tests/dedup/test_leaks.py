"""The interval of leaks holds the truth, and each image stands beside its nearest of train."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import hypergeom

from pipeline.dedup.identical_sets import PAIRS, across, as_pairs, set_pairs
from pipeline.dedup.leaks import (
    LeakEvidence,
    by_kind,
    counts_within,
    judged_images,
    leaked_images,
)
from pipeline.dedup.verdicts import VERDICTS

IMAGES, TRIALS = 600, 200


def planted(rng, recall, joined, wrong, judge):
    """Plant copies, find some of them and some others, and measure as the job does."""
    copies = int(rng.integers(0, 60))
    copy = rng.permutation(IMAGES) < copies
    paired = np.where(copy, rng.random(IMAGES) < recall, rng.random(IMAGES) < wrong)
    found = paired & (rng.random(IMAGES) < joined)
    identical = found & copy & (rng.random(IMAGES) < 0.2)
    open_ = rng.permutation(np.flatnonzero(found & ~identical))[:judge]
    right = int(copy[open_].sum())
    unfound = rng.permutation(np.flatnonzero(~found))[:150]
    evidence = LeakEvidence(
        images=IMAGES,
        found=int(found.sum()) - (len(open_) - right),
        sure=int(identical.sum()) + right,
        judged=len(open_),
        right=right,
        unmet=int((~found).sum()),
        asked=None if joined == 1 else len(unfound),
        missed=0 if joined == 1 else int(paired[unfound].sum()),
        copies=200,
        recognised=int(rng.binomial(200, recall)),
    )
    return copies, evidence.interval()


@pytest.mark.parametrize(
    ("recall", "joined", "wrong", "judge"),
    [(0.9, 1, 0.0, 0), (0.6, 1, 0.05, 20), (0.8, 0.9, 0.03, 15), (0.95, 0.97, 0.1, 40)],
)
def test_of_200_planted_trials_the_interval_holds_the_truth_in_95_percent(
    recall, joined, wrong, judge
):
    rng = np.random.default_rng(7)
    trials = [planted(rng, recall, joined, wrong, judge) for _ in range(TRIALS)]
    assert sum(low <= copies <= high for copies, (low, high) in trials) >= 0.95 * TRIALS
    assert np.mean([high - low for _, (low, high) in trials]) < IMAGES / 4


def test_what_is_known_for_certain_leaves_nothing_open():
    assert LeakEvidence(images=50, found=7, sure=7).interval() == (7, 7)
    assert LeakEvidence(images=50, found=7, sure=2).interval() == (2, 7)
    assert LeakEvidence(images=50, found=7, sure=7, judged=5, right=5).interval() == (7, 7)
    assert LeakEvidence(images=50, found=0, sure=0, unmet=50, asked=50).interval() == (0, 0)
    assert LeakEvidence(images=50, found=3, sure=0, copies=9, recognised=0).interval() == (0, 50)


def test_counts_are_bounded_by_the_hypergeometric_test():
    low, high = counts_within(40, 10, 3, 0.05)
    assert hypergeom.sf(2, 40, low, 10) > 0.05 >= hypergeom.sf(2, 40, low - 1, 10)
    assert hypergeom.cdf(3, 40, high, 10) > 0.05 >= hypergeom.cdf(3, 40, high + 1, 10)
    assert counts_within(12, 12, 4, 0.05) == (4, 4)


def test_a_test_image_stands_beside_its_nearest_of_train_once():
    # 1, 2, 3 are of train, 3 is identical to 2; 10 to 13 of test, 11 is identical to 10.
    rows = [(1, 10, 0.9, False), (2, 3, 1.0, True), (2, 10, 0.95, False), (10, 11, 1.0, True)]
    rows += [(1, 12, 0.99, False), (10, 12, 0.99, False), (1, 13, 1.0, True)]
    table = pa.table(
        dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True)), schema=PAIRS
    ).sort_by([("a", "ascending"), ("b", "ascending")])
    sets = across(set_pairs(table), np.array([1, 2, 3]))
    pairs = as_pairs(sets)
    why = {(1, 12): "mirrored", (2, 10): "b is a crop of a (9% of it), a is grey"}
    told = [why.get(pair) for pair in zip(*(pairs[n].to_pylist() for n in "ab"), strict=True)]
    leaked = leaked_images(sets, pairs.append_column("why", pa.array(told)))
    told = "test is a crop of train (9% of it), train is grey"
    assert [tuple(row.values()) for row in leaked.to_pylist()] == [
        (13, 1, 1.0, None),
        (12, 1, 0.99, "mirrored"),
        (10, 2, 0.95, told),
        (11, 2, 0.95, told),
    ]
    assert by_kind(leaked) == [(told, 2), ("identical", 1), ("mirrored", 1)]
    assert leaked_images(across(sets, np.array([99])), pairs.slice(0, 0)).num_rows == 0


def test_an_image_with_one_copy_is_a_copy_whatever_else_it_is_not():
    rows = [(1, 10, True), (2, 10, False), (2, 11, False), (10, 11, False), (1, 2, True)]
    verdicts = pa.table(
        dict(zip(VERDICTS.names, zip(*rows, strict=True), strict=True)), schema=VERDICTS
    )
    right, wrong = judged_images(verdicts, np.array([10, 11, 12]))
    assert (right.tolist(), wrong.tolist()) == ([10], [11])
