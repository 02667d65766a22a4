"""From which sureness pairs are kept for a precision or recall that is asked for."""

import numpy as np
import pytest

from pipeline.dedup.asked import copies_among, keep


def _drawn(rng, share, pairs=20_000):
    """Return sureness by a model that is right for as many copies as others, and what is a copy."""
    copy = rng.random(pairs) < share
    logit = rng.normal(np.where(copy, 4.0, -4.0), np.sqrt(8.0))  # log-odds of their own densities
    return 1 / (1 + np.exp(-logit)), copy


@pytest.mark.parametrize("share", [0.02, 0.2, 0.7])
def test_the_share_of_copies_is_estimated(share):
    sure, copy = _drawn(np.random.default_rng(1), share)
    assert copies_among(sure) == pytest.approx(copy.mean(), rel=0.1)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("precision", [0.9, 0.99])
def test_the_precision_that_is_asked_for_is_had(share, precision):
    broken = 0
    for seed in range(40):
        sure, copy = _drawn(np.random.default_rng(seed), share)
        kept = keep(sure, precision, None, 0.95)
        mine = sure >= kept.least
        assert kept.precision >= precision
        assert kept.recall == pytest.approx(copy[mine].sum() / copy.sum(), abs=0.05)
        broken += copy[mine].mean() < precision
    assert broken <= 5  # two are expected; more than five, of one time in seventy


def test_the_recall_that_is_asked_for_is_had():
    sure, copy = _drawn(np.random.default_rng(3), 0.1)
    kept = keep(sure, None, 0.9, 0.95)
    assert copy[sure >= kept.least].sum() / copy.sum() == pytest.approx(0.9, abs=0.03)
    assert keep(sure, 0.999, 0.9, 0.95).recall >= 0.9


def test_no_pairs_and_no_copies_keep_nothing():
    assert keep(np.empty(0), 0.99, None, 0.95).recall == 0.0
    none = keep(np.full(50, 1e-6), 0.99, None, 0.95)
    assert none.least == 1.0
    assert none.copies < 0.01


def test_no_pair_is_kept_that_the_look_speaks_against():
    sure = np.concatenate([np.full(5_000, 0.999), np.linspace(0.0, 0.9, 50)])
    assert keep(sure, 0.9, None, 0.95).least >= 0.5
    assert keep(sure, None, 0.99999, 0.95).least >= 0.5
