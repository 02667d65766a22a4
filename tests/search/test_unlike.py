import numpy as np

from pipeline.search.unlike import promised, unlike


def test_own_queries_are_seldom_called_unlike_and_others_are():
    rng = np.random.default_rng(0)
    known, own, other = (rng.normal(mean, 0.1, size=2000) for mean in (0.8, 0.8, 0.5))
    assert 0.03 < unlike(known, own).mean() < 0.07
    assert unlike(known, other).mean() > 0.9
    assert not unlike(known[:10], np.array([-1.0])).any()  # too few to say it of any


def test_a_query_without_any_neighbour_is_unlike_them():
    assert unlike(np.full(100, 0.5), np.array([-np.inf])).all()


def test_a_promise_names_the_queries_it_is_void_for():
    keys, some = list("abcdefg"), np.array([True] * 6 + [False])
    assert promised("0.9", keys, ~np.ones(7, bool), "do x") == "0.9"
    told = promised("0.9", keys, some, "do x")
    assert told.startswith("0.9; void for 6 of 7 queries (a, b, c, d, e and 1 more), ")
    assert told.endswith("; do x")
    assert promised("0.9", keys[:2], some[:2], "do x").startswith("void for 2 of 2 queries (a, b)")
