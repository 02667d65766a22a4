import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.forecast import PoolCosts
from pipeline.lab.scaling.simulator import (
    Stay,
    calibrate,
    milliseconds,
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
    assert (costs.start_up, costs.start_up_a_worker) == pytest.approx((4.0, 1.2), rel=0.02)
    assert costs.overhead == pytest.approx(0.01, rel=0.01)  # CPU time a shard
    assert costs.wait == pytest.approx(0.09, rel=0.01)  # the rest of the 0.1 s between two
    assert (costs.merge, costs.drain) == pytest.approx((0.25, 1.5))
    assert (costs.planning, costs.writing) == pytest.approx((1.0, 0.5))
    assert costs.stragglers == pytest.approx((1.0,) * 101)
    assert milliseconds(runs) == pytest.approx(200)
    assert abs(simulation_error(costs, runs[0], a_machine=1)) < 0.05
    with pytest.raises(ValueError, match="at least one"):
        calibrate([])


def test_one_count_tells_nothing_of_many_workers_on_one_machine():
    assert calibrate([tasks(2, 8)]).start_up_a_worker == 0


def test_a_lost_workers_shard_is_done_again():
    stays = [Stay(), Stay(leaves=2.5)]  # in its second shard of 2 s
    assert simulate(FREE, stays, [2.0] * 4).wall == pytest.approx(6)
    late = [Stay(), Stay(leaves=2.5, noticed=20.0)]
    assert simulate(FREE, late, [2.0] * 4).wall == pytest.approx(22)
    again = [Stay(), Stay(leaves=2.5, returns=9.0)]  # with its shard
    assert simulate(FREE, again, [2.0] * 4).wall == pytest.approx(11)
    replaced = [*stays, Stay(comes=2.5)]
    assert simulate(FREE, replaced, [2.0] * 4).wall == pytest.approx(4.5)
    slow = PoolCosts(1.0, 0.0, 0.0, 0.0, 0.0, (1.0,))  # whoever comes starts for a second
    assert simulate(slow, replaced, [2.0] * 4).wall == pytest.approx(7)


def test_workers_come_and_go():
    grown = [Stay(), Stay(), Stay(comes=4), Stay(comes=4)]
    assert simulate(FREE, grown, [1.0] * 16).wall == pytest.approx(6)  # 8 by two, then 4 a second
    shrunk = [Stay(), Stay(), Stay(leaves=2.5), Stay(leaves=2.5)]
    assert simulate(FREE, shrunk, [1.0] * 16).wall == pytest.approx(6)
    assert simulate(FREE, [Stay(leaves=2)], [1.0] * 16).wall == float("inf")
    assert simulate(FREE, [Stay(), Stay(comes=50)], [1.0] * 4).wall == pytest.approx(4)


def test_uneven_shards_are_done_in_their_order():
    assert simulate(FREE, 2, [4.0, 1.0, 1.0, 1.0]).wall == pytest.approx(4)
    assert simulate(FREE, 2, [1.0, 1.0, 1.0, 4.0]).wall == pytest.approx(5)
