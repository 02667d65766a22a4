import numpy as np

from pipeline.lab.break_even import BreakEven


def test_the_first_query_at_which_brute_force_has_cost_less():
    assert BreakEven(np.array([4.0, 4.0, 4.0, 4.0]), 9.0, 0.1).crossing() == (3, True)


def test_beyond_what_was_measured_it_is_extrapolated():
    even = BreakEven(np.array([9.0, 2.0, 2.0, 2.0]), 100.0, 1.0)
    query, measured = even.crossing()
    assert not measured
    cascade = 15 + 2 * (query - 4)
    assert cascade > 100 + query
    assert cascade - 2 <= 100 + query - 1


def test_a_cascade_query_as_cheap_as_a_search_never_loses():
    assert BreakEven(np.array([1.0, 1.0, 1.0]), 50.0, 1.0).crossing() == (None, False)
