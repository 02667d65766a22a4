import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scaling_simulator import (
    Calibration,
    Plan,
    calibrate,
    cheapest_in_time,
    doublings,
    money_buys_nothing,
    planner,
    simulate,
    simulation_error,
)
from tests.test_scale import tasks

FREE = Calibration(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (1.0,))


@settings(max_examples=40, deadline=None)
@given(workers=st.integers(1, 40), shards=st.integers(1, 80), seconds=st.floats(0.1, 10))
def test_without_overhead_it_is_rounds_of_shards(workers, shards, seconds):
    run = simulate(FREE, workers, [seconds] * shards)
    assert run.wall == pytest.approx(-(-shards // workers) * seconds)


@settings(max_examples=40, deadline=None)
@given(workers=st.integers(1, 40), overhead=st.floats(0, 1), merge=st.floats(0, 1))
def test_no_run_is_shorter_than_its_floors(workers, overhead, merge):
    costs = Calibration(3.0, 0.5, 0.0, overhead, merge, 1.0, (0.8, 1.0, 1.5))
    run = simulate(costs, workers, [2.0] * 50, a_machine=2)
    start_up = 3.0 + 0.5 * min(workers, 2)
    assert run.start_up == start_up
    assert run.wall >= start_up + 50 * (overhead + merge) + 1.0 - 1e-9
    assert run.wall >= start_up + 50 * 1.6 / workers + 1.0 - 1e-9


def test_a_calibration_gives_the_measured_runs_back():
    runs = [tasks(w, 8 * w, start_up=2 + 0.5 * w, gap=0.1) for w in (1, 2, 4)]
    costs = calibrate(runs)
    assert (costs.start_up, costs.start_up_a_worker) == pytest.approx((2.0, 0.5))
    assert costs.stagger == pytest.approx(0.0)
    assert (costs.overhead, costs.merge, costs.drain) == pytest.approx((0.1, 0.25, 1.5))
    assert costs.stragglers == pytest.approx((1.0,) * 101)
    assert abs(simulation_error(costs, runs[0], a_machine=1)) < 0.05
    with pytest.raises(ValueError, match="at least one"):
        calibrate([])


def test_workers_that_begin_one_after_the_other():
    costs = Calibration(1.0, 0.0, 2.0, 0.0, 0.0, 0.0, (1.0,))
    runs = [simulated_tasks(costs, workers) for workers in (1, 2, 4)]
    found = calibrate(runs)
    assert (found.start_up, found.start_up_a_worker) == pytest.approx((1.0, 0.0), abs=1e-9)
    assert found.stagger == pytest.approx(2.0)
    assert simulate(costs, 4, [1.0] * 4, a_machine=4).wall == pytest.approx(4)  # two are late
    assert simulate(costs, 4, [1.0] * 4, a_machine=1).wall == pytest.approx(2)


def simulated_tasks(costs, workers):
    table = tasks(workers, 8 * workers, start_up=costs.start_up, gap=0.1).to_pydict()
    names = sorted(set(table["worker"]))
    for column in ("started", "ended"):
        table[column] = [
            at + costs.stagger * names.index(worker)
            for at, worker in zip(table[column], table["worker"], strict=True)
        ]
    return pa.table(table)


def test_a_plan_says_when_money_buys_nothing():
    costs = Calibration(10.0, 0.0, 0.0, 0.01, 0.0, 0.0, (1.0,))
    at = planner(costs, 4096, 50, price=0.2, most=64, shards_a_worker=4)
    plans = [at(workers) for workers in doublings(64)]
    assert [one.workers for one in plans] == [1, 2, 4, 8, 16, 32, 64]
    assert plans[0].seconds == pytest.approx(10 + 4096 * 0.05 + 256 * 0.01)
    assert plans[0].cost == pytest.approx(plans[0].seconds / 3600 * 0.2)
    chosen = cheapest_in_time(plans, 45, at)
    assert chosen is not None
    assert chosen.seconds <= 45 < at(chosen.workers - 1).seconds
    assert chosen.workers == 6
    assert cheapest_in_time(plans, 1000, at) == plans[0]
    assert cheapest_in_time(plans, 5, at) is None
    flat = [Plan(1, 100, 1), Plan(2, 50, 1), Plan(4, 49.8, 2), Plan(8, 49.7, 4)]
    assert money_buys_nothing(flat).workers == 2
