"""From which sureness pairs are kept for a precision or recall that is asked for."""

import numpy as np
import pytest

from pipeline.dedup.asked import FITTED, chances, keep, shares_among


def _drawn(rng, copies, alikes=0.0, pairs=4_000):
    """Return what a model that is right in FITTED shares makes of pairs, and which are copies."""
    kind = rng.choice(3, pairs, p=(copies, 1 - copies - alikes, alikes))
    places = np.array([[0, 0], [4.0, 0], [0, 3.5]])
    seen = rng.normal(places[kind], 1)
    chances = np.exp(-((seen[:, None] - places) ** 2).sum(axis=2) / 2) * FITTED
    chances /= chances.sum(axis=1, keepdims=True)
    return chances[:, 0], chances[:, 2], kind == 0


SHARES = [(0.02, 0.0), (0.02, 0.05), (0.2, 0.0), (0.2, 0.4), (0.7, 0.1)]


@pytest.mark.parametrize(("copies", "alikes"), SHARES)
def test_the_shares_of_copies_and_look_alikes_are_estimated(copies, alikes):
    sure, alike, copy = _drawn(np.random.default_rng(1), copies, alikes, 40_000)
    shares = shares_among(sure, alike)
    assert shares.copies == pytest.approx(copy.mean(), rel=0.1)
    assert shares.look_alikes == pytest.approx(alikes, abs=0.01)


@pytest.mark.parametrize(
    ("copies", "alikes", "precision"), [*((*some, 0.99) for some in SHARES), (0.2, 0.4, 0.9)]
)
def test_the_precision_that_is_asked_for_is_had(copies, alikes, precision):
    broken, apart = 0, []
    for seed in range(40):
        sure, alike, copy = _drawn(np.random.default_rng(seed), copies, alikes)
        kept = keep(sure, alike, precision, None, 0.95)
        mine = chances(sure, alike, kept.shares) >= kept.least
        assert kept.precision >= precision
        apart.append(kept.recall - copy[mine].sum() / copy.sum())
        broken += copy[mine].mean() < precision
    assert np.mean(apart) == pytest.approx(0, abs=0.03)
    assert broken <= 5  # two are expected; more than five, of one time in seventy


def test_the_recall_that_is_asked_for_is_had():
    sure, alike, copy = _drawn(np.random.default_rng(3), 0.1, 0.1)
    kept = keep(sure, alike, None, 0.7, 0.95)
    mine = chances(sure, alike, kept.shares) >= kept.least
    assert copy[mine].sum() / copy.sum() == pytest.approx(0.7, abs=0.03)
    assert keep(sure, alike, 0.999, 0.7, 0.95).recall >= 0.7


def test_no_pairs_and_no_copies_keep_nothing():
    assert keep(np.empty(0), np.empty(0), 0.99, None, 0.95).recall == 0.0
    none = keep(np.full(50, 1e-6), np.full(50, 0.1), 0.99, None, 0.95)
    assert none.least == 1.0
    assert none.shares.copies < 0.01


def test_no_pair_is_kept_that_the_look_speaks_against():
    sure = np.concatenate([np.full(5_000, 0.999), np.linspace(0.0, 0.9, 50)])
    alike = 0.1 * (1 - sure)
    kept = keep(sure, alike, 0.9, None, 0.95)
    assert sure[chances(sure, alike, kept.shares) >= kept.least].min() > 0.45
    assert keep(sure, alike, None, 0.99999, 0.95).least >= 0.5


def test_what_may_be_a_look_alike_is_kept_where_none_are():
    """As captions are, of which one in five is as likely another thing before one background."""
    rng = np.random.default_rng(7)
    sure = np.concatenate([np.full(300, 0.99999), np.full(20, 0.8), rng.uniform(0, 1e-4, 2000)])
    alike = np.where(sure == 0.8, 0.1999, 0.1 * (1 - sure))
    kept = keep(sure, alike, 0.99, None, 0.95)
    assert (chances(sure, alike, kept.shares) >= kept.least).sum() == 320
    met = np.concatenate([alike, np.full(300, 0.999)])
    sure = np.concatenate([sure, np.full(300, 1e-4)])
    kept = keep(sure, met, 0.99, None, 0.95)
    assert (chances(sure, met, kept.shares) >= kept.least).sum() == 300
