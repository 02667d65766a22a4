import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cascade import planner
from pipeline.cascade.costs import RECALLS, recall_costs
from pipeline.cascade.planner import (
    CascadePlan,
    Evidence,
    StageCosts,
    category_widths,
    least_kept,
    narrowed,
    neighbour_ranks,
    plan_cascade,
    plan_within,
    plans_by_recall,
    ranks_among,
    thresholds,
    widened,
)
from pipeline.core.bounds import lower_bound, mean_lower_bound

COSTS = StageCosts({"signature": 0.001, "rough": 0.5, "cnn": 6.0})
BOTH = {"signature": None, "rough": None}
SAMPLE = 400


def codes(rng, rows):
    return rng.integers(-20, 20, (rows, 6)).astype(np.float32)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 60), data=st.data())
def test_an_image_passes_just_when_its_rank_is_kept(seed, rows, data):
    rng = np.random.default_rng(seed)
    sample, queries = codes(rng, rows), codes(rng, 5)
    keep = data.draw(st.integers(1, rows))
    limits = thresholds(queries @ sample.T, np.full(5, keep))
    passes = queries @ sample.T >= limits[:, None]
    assert np.array_equal(passes, ranks_among(queries, sample) <= keep)
    assert (passes.sum(axis=1) >= keep).all()


def test_a_querys_own_row_does_not_count():
    sample = np.array([[9, 0], [5, 0], [3, 0]], np.float32)
    query = sample[:1]
    ranks = neighbour_ranks(query, np.array([[1, 2, 0]]), np.array([0]), sample)
    assert ranks.tolist() == [[1, 2, 1]]


def evidence(rng, sharpness, units=SAMPLE, neighbours=1):
    """Neighbours whose ranks fall off as the stages are sharp; the sample passes at random."""
    ranks, among = {}, {}
    for stage, sharp in sharpness.items():
        drawn = rng.beta(1, sharp, (units, neighbours))
        ranks[stage] = np.ceil(SAMPLE * drawn).astype(np.int64)
        among[stage] = rng.permuted(np.arange(1, SAMPLE + 1)[None].repeat(3, 0), axis=1)
    return Evidence(ranks, np.full(neighbours, 1 / neighbours), among, COSTS, SAMPLE)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), keep=st.integers(1, 50))
def test_a_querys_category_keeps_its_width_times_as_much(seed, keep):
    rng = np.random.default_rng(seed)
    widths, category = rng.uniform(0.2, 4, 3), rng.integers(3, size=20)
    plan = CascadePlan(("rough",), (keep,), 50, (1.0,), 0.9, 1.0, 9, (tuple(widths),))
    ranks = rng.integers(1, 51, (20, 7))
    narrow = narrowed(ranks, widths[category], 50)
    kept = plan.keeps(0, category)
    assert np.array_equal(narrow <= keep, ranks <= kept[:, None])
    assert (kept == 50).all() if keep == 50 else (kept <= np.maximum(1, keep * 4)).all()


def test_widths_change_little_of_what_keeps_nearly_all():
    widths, keep = np.array([0.25, 1, 4]), np.array([[4], [396], [400]])
    assert widened(keep, widths, 400).tolist() == [[1, 4, 15], [384, 396, 398], [400, 400, 400]]


def test_a_hard_category_is_wide_and_a_small_one_like_all():
    rng = np.random.default_rng(0)
    category = np.array([0] * 300 + [1] * 300 + [2] * 2)
    ranks = np.ceil(np.exp(rng.normal(3, 0.8, (602, 4))) * (1 + 3 * (category == 1))[:, None])
    widths = category_widths(ranks.astype(np.int64), np.full(4, 0.25), category, 4, 10_000)
    assert widths[1] / widths[0] == pytest.approx(4, rel=0.2)
    assert 0.5 < widths[2] < 2
    assert widths[3] == 1


def passing(plan, ranks):
    kept = np.ones(next(iter(ranks.values())).shape, bool)
    for stage, keep in zip(plan.stages, plan.keep, strict=True):
        kept &= ranks[stage] <= keep
    return kept.mean()


SHARPNESS = {"signature": 25, "rough": 80}
POPULATION = evidence(np.random.default_rng(9), SHARPNESS, 100_000).neighbour_ranks


def reached(neighbours=1):
    rng = np.random.default_rng(0)
    plans = [
        plan_cascade(evidence(rng, SHARPNESS, neighbours=neighbours), BOTH, 0.9, 0.95)
        for _ in range(40)
    ]
    assert all(plan.milliseconds < COSTS.milliseconds["cnn"] / 4 for plan in plans)
    return np.array([passing(plan, POPULATION) for plan in plans])


def test_the_promise_is_broken_in_at_most_one_of_twenty_and_given_hardly_more_than_asked():
    recalls = reached()
    assert (recalls < 0.9).sum() <= 4
    assert recalls.mean() < 0.945


def test_several_neighbours_a_query_give_less_more_than_asked():
    recalls = reached(neighbours=6)
    assert (recalls < 0.9).sum() <= 4
    assert recalls.mean() < 0.925


def test_without_the_bound_the_promise_would_be_broken(monkeypatch):
    monkeypatch.setattr(planner, "lower_bound", lambda found, drawn, confidence: found / drawn)
    assert (reached() < 0.9).sum() > 6
    monkeypatch.setattr(planner, "mean_lower_bound", lambda values, *_: values.mean())
    assert (reached(neighbours=6) < 0.9).sum() > 6


def test_filters_that_know_nothing_are_not_used():
    found = evidence(np.random.default_rng(0), {"signature": 1, "rough": 1})
    found.neighbour_ranks["signature"][:] = SAMPLE
    found.neighbour_ranks["rough"][:] = SAMPLE
    plan = plan_cascade(found, BOTH, 0.9, 0.95)
    assert (plan.stages, plan.bound, plan.recall) == ((), 1.0, 1.0)
    assert plan.milliseconds == COSTS.milliseconds["cnn"]


def test_too_small_a_sample_proves_nothing():
    found = evidence(np.random.default_rng(0), {"signature": 25, "rough": 80}, units=32)
    assert plan_cascade(found, BOTH, 0.9, 0.95).stages == ()


def test_more_recall_costs_more_and_a_fixed_share_is_kept():
    found = evidence(np.random.default_rng(1), {"signature": 25, "rough": 80}, units=2000)
    costs = [plan_cascade(found, BOTH, recall, 0.95).milliseconds for recall in (0.5, 0.9, 0.98)]
    assert costs == sorted(costs)
    plan = plan_cascade(found, {"signature": 0.25, "rough": None}, 0.8, 0.95)
    assert (plan.stages[0], plan.keep[0]) == ("signature", 100)


def test_many_recalls_are_planned_as_each_alone_is():
    found = evidence(np.random.default_rng(3), {"signature": 25, "rough": 80}, units=2000)
    asked = (0.9, 0.5, 0.98, 1.0)
    plans = plans_by_recall(found, BOTH, asked, 0.95)
    assert plans == [plan_cascade(found, BOTH, recall, 0.95) for recall in asked]
    assert plans[-1].stages == ()
    assert all(plan.bound >= recall for plan, recall in zip(plans, asked, strict=True))
    fixed = plans_by_recall(found, {"signature": 0.25}, asked, 0.95)
    assert {plan.keep for plan in fixed} == {(100,)}


def test_the_table_of_recalls_tells_what_each_plan_costs():
    found = evidence(np.random.default_rng(4), {"signature": 25, "rough": 80}, units=2000)
    plans = plans_by_recall(found, BOTH, RECALLS, 0.95)
    table = recall_costs(found, plans, 0.5, 3).to_pandas()
    assert sorted(set(table["recall"])) == list(RECALLS)
    spent = (table["share"] * table["ms"]).groupby(table["recall"]).sum()
    assert spent.tolist() == pytest.approx([plan.milliseconds / 2 for plan in plans])
    cnn = table[table["stage"] == "cnn"].set_index("recall")
    assert cnn["share"][1.0] == 0.5
    assert cnn["share"][0.5] < cnn["share"][0.9] < 0.25
    assert (cnn["bound"] >= cnn.index).all()
    assert recall_costs(found, [], 0.5, 3).num_rows == 0


def test_a_budget_is_kept_and_its_bound_is_told():
    found = evidence(np.random.default_rng(2), {"signature": 25, "rough": 80}, units=2000)
    tight, wide = (plan_within(found, BOTH, ms, 0.95) for ms in (0.1, 1.0))
    assert tight.milliseconds <= 0.1
    assert wide.milliseconds <= 1.0
    assert tight.bound < tight.recall <= wide.recall
    least = plan_within(found, BOTH, 1e-9, 0.95)
    assert least.milliseconds <= tight.milliseconds


@pytest.mark.parametrize(("found", "drawn"), [(0, 10), (95, 100), (100, 100)])
def test_the_bound_is_the_binomials(found, drawn):
    from scipy.stats import binom

    low = lower_bound(found, drawn, 0.95)
    assert low <= found / drawn
    if found:
        assert binom.sf(found - 1, drawn, low) == pytest.approx(0.05)


@pytest.mark.parametrize("spread", [0.01, 0.2, 5.0])
def test_a_means_bound_holds_whatever_the_spread_is_taken_for(spread):
    rng = np.random.default_rng(7)
    drawn = rng.beta(8, 2, (400, 200))  # of mean 0.8
    bounds = np.array([mean_lower_bound(values, 0.95, spread) for values in drawn])
    assert (bounds > 0.8).sum() <= 20
    assert (bounds < drawn.mean(axis=1)).all()


def test_a_means_bound_gains_from_little_spread():
    rng = np.random.default_rng(8)
    values = rng.beta(80, 20, 500)
    narrow = mean_lower_bound(values, 0.95, 0.04)
    assert narrow > lower_bound(round(values.sum()), 500, 0.95) + 0.015
    assert mean_lower_bound(np.zeros(50), 0.95, 0.1) == 0
    assert 0.9 < mean_lower_bound(np.ones(500), 0.95, 0) < 1


@pytest.mark.parametrize(
    ("share", "sample", "kept"), [(0.07, 100, 7), (0.28, 150, 42), (0.071, 100, 8), (0.001, 9, 1)]
)
def test_a_share_keeps_no_more_than_it_must(share, sample, kept):
    assert least_kept(share, sample) == kept
