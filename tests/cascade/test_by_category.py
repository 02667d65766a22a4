from dataclasses import replace

import numpy as np
import pytest

from pipeline.cascade.by_category import ALL, BY_CATEGORY, recall_by_category
from pipeline.cascade.planner import (
    CascadePlan,
    Evidence,
    StageCosts,
    of_planning,
    plan_cascade,
    search_everything,
)

COSTS = StageCosts({"rough": 0.5, "cnn": 6.0})
SAMPLE, QUERIES = 400, 800
NAMES = ["a.jpg", "b.jpg", "c.jpg"]


def evidence(seed, neighbours=5, drawn=False, categories=2):
    """Of the neighbours of category 1 fewer pass than of those of 0."""
    rng = np.random.default_rng(seed)
    category = rng.integers(categories, size=QUERIES)
    ranks = rng.beta(1, np.where(category == 1, 25, 60)[:, None], (QUERIES, neighbours))
    among = rng.permuted(np.arange(1, SAMPLE + 1)[None], axis=1)
    return Evidence(
        {"rough": np.ceil(SAMPLE * ranks).astype(np.int64)},
        np.full(neighbours, 1 / neighbours),
        {"rough": among},
        COSTS,
        SAMPLE,
        widths={"rough": np.ones(categories)},
        category=category,
        drawn=drawn,
    )


def rows(found, asked=0.9):
    plan = plan_cascade(found, {"rough": None}, 0.9, 0.95)
    table = recall_by_category(found, plan, NAMES, np.array([0, 0, 1]), asked, 0.95)
    return plan, table.to_pylist()


def test_each_category_has_its_own_recall_and_a_wider_bound_than_all_together():
    plan, (easy, hard, all_of_them) = rows(evidence(0))
    assert [row["like"] for row in (easy, hard, all_of_them)] == ["a.jpg", "b.jpg", ALL]
    assert [row["queries"] for row in (easy, hard, all_of_them)] == [2, 1, 3]
    assert easy["tested"] + hard["tested"] == all_of_them["tested"] == plan.tested
    assert hard["recall"] < 0.9 < all_of_them["recall"] < easy["recall"]
    assert (all_of_them["recall"], all_of_them["bound"]) == (plan.recall, plan.bound)
    for row in (easy, hard):
        assert row["bound"] < row["recall"] - (plan.recall - plan.bound)
    assert all_of_them["kept"] == plan.fractions[-1]
    assert 0 < all_of_them["complete"] < 1 - all_of_them["below_half"] < 1


def test_the_bounds_of_the_categories_hold_together():
    truth = evidence(1, neighbours=500).neighbour_ranks["rough"]
    kinds = evidence(1, neighbours=500).category
    broken = 0
    for seed in range(100, 160):
        plan, (easy, hard, _) = rows(evidence(seed))
        given = (truth <= plan.keep[0]).mean(axis=1)
        broken += (
            given[kinds == 0].mean() < easy["bound"] or given[kinds == 1].mean() < hard["bound"]
        )
    assert broken <= 4


def test_a_category_keeps_its_own_share():
    found = evidence(2)
    plan = CascadePlan(("rough",), (40,), SAMPLE, (0.9,), 0.9, 1.0, 9, ((0.5, 2.0),))
    table = recall_by_category(found, plan, NAMES, np.array([1]), 0.9, 0.95).to_pylist()
    assert table[0]["kept"] == pytest.approx(21 / SAMPLE)
    assert table[1]["kept"] == pytest.approx(72 / SAMPLE)
    assert table[0]["kept"] < table[2]["kept"] < table[1]["kept"]


def test_of_one_neighbour_drawn_for_several_no_query_is_told():
    *_, told = rows(evidence(3, neighbours=1, drawn=True))[1]
    assert told["below_half"] is told["complete"] is None
    *_, told = rows(evidence(3, neighbours=1), asked=None)[1]
    assert told["asked"] is None
    assert told["complete"] == pytest.approx(told["recall"])


def test_a_single_category_has_no_row_of_its_own_and_no_plan_has_none():
    one = evidence(4, categories=1)
    assert [row["like"] for row in rows(one)[1]] == [ALL]
    nothing = recall_by_category(one, search_everything(one), NAMES, np.array([0]), 0.9, 0.95)
    assert nothing.equals(BY_CATEGORY.empty_table())


def test_a_category_that_none_of_those_tested_is_of_promises_nothing():
    found = evidence(5)
    category = np.where(of_planning(QUERIES), found.category, 0)
    _, (_, untested, together) = rows(replace(found, category=category))
    assert (untested["tested"], untested["recall"], untested["bound"]) == (0, None, None)
    assert together["tested"] > 0
