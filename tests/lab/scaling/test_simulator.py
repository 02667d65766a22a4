import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.forecast import PoolCosts
from pipeline.lab.scaling.simulator import (
    Plan,
    calibrate,
    cheapest_in_time,
    doublings,
    money_buys_nothing,
    planner,
    simulate,
    simulation_error,
)
from tests.helpers.scaling import tasks

FREE = PoolCosts(0.0, 0.0, 0.0, 0.0, 0.0, (1.0,))


@settings(max_examples=40, deadline=None)
@given(workers=st.integers(1, 40), shards=st.integers(1, 80), seconds=st.floats(0.1, 10))
def test_without_overhead_it_is_rounds_of_shards(workers, shards, seconds):
    run = simulate(FREE, workers, [seconds] * shards)
    assert run.wall == pytest.approx(-(-shards // workers) * seconds)


@settings(max_examples=40, deadline=None)
@given(workers=st.integers(1, 40), overhead=st.floats(0, 1), merge=st.floats(0, 1))
def test_no_run_is_shorter_than_its_floors(workers, overhead, merge):
    costs = PoolCosts(3.0, 2.0, overhead, merge, 1.0, (0.8, 1.0, 1.5))
    run = simulate(costs, workers, [2.0] * 50, a_machine=2)
    start_up = 3.0 if workers == 1 else 4.0
    assert run.start_up == start_up
    assert run.wall >= start_up + 50 * (overhead + merge) + 1.0 - 1e-9
    assert run.wall >= start_up + 50 * 1.6 / workers + 1.0 - 1e-9


def test_a_calibration_gives_the_measured_runs_back():
    runs = [tasks(w, 8 * w, start_up=max(2, 0.7 * w), gap=0.1) for w in (1, 2, 4)]
    costs = calibrate(runs)
    assert (costs.start_up, costs.start_up_a_worker) == pytest.approx((2.0, 0.7))
    assert (costs.overhead, costs.merge, costs.drain) == pytest.approx((0.1, 0.25, 1.5))
    assert costs.stragglers == pytest.approx((1.0,) * 101)
    assert abs(simulation_error(costs, runs[0], a_machine=1)) < 0.05
    with pytest.raises(ValueError, match="at least one"):
        calibrate([])


def test_a_plan_says_when_money_buys_nothing():
    costs = PoolCosts(10.0, 0.0, 0.01, 0.0, 0.0, (1.0,))
    at = planner(costs, 4096, 50, price=0.2, shards_a_worker=4)
    plans = [at(workers) for workers in doublings(64)]
    assert [one.workers for one in plans] == [1, 2, 4, 8, 16, 32, 64]
    assert plans[0].seconds == pytest.approx(10 + 4096 * 0.05 + 4 * 0.01)
    assert plans[0].cost == pytest.approx(plans[0].seconds / 3600 * 0.2)
    chosen = cheapest_in_time(plans, 45, at)
    assert chosen is not None
    assert chosen.seconds <= 45 < at(chosen.workers - 1).seconds
    assert chosen.workers == 6
    assert cheapest_in_time(plans, 1000, at) == plans[0]
    free = planner(FREE, 40, 1000, price=1, shards_a_worker=4)
    few = [free(workers) for workers in doublings(10)]
    assert [one.seconds for one in few] == [40, 20, 10, 5, 4]
    chosen = cheapest_in_time(few, 7, free)  # 6 are in time, but are paid 42 s for 40 s of work
    assert chosen is not None
    assert chosen.workers == 10
    assert cheapest_in_time(plans, 5, at) is None
    flat = [Plan(1, 100, 1), Plan(2, 50, 1), Plan(4, 49.8, 2), Plan(8, 49.7, 4)]
    assert money_buys_nothing(flat).workers == 2
