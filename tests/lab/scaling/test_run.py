import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.steady_state import WARM_FROM
from pipeline.lab.scaling.run import run_phases
from tests.helpers.scaling import tasks


@settings(max_examples=20, deadline=None)
@given(workers=st.integers(1, 8), turns=st.integers(2, 6), gap=st.floats(0, 1))
def test_phases_of_a_run_add_up_and_give_its_rate(workers, turns, gap):
    phases = run_phases(tasks(workers, workers * turns, gap=gap))
    assert (phases.planning, phases.start_up) == pytest.approx((1.0, 5.0))
    assert (phases.drain, phases.writing) == pytest.approx((1.5, 0.5))
    names = ("planning", "start_up", "work", "drain", "writing")
    assert sum(getattr(phases, name) for name in names) == pytest.approx(phases.wall)
    assert phases.whole_rate == pytest.approx(10 * workers * turns / phases.wall)
    assert phases.merge == pytest.approx(0.25 * workers * turns)
    shards = turns - 1 if turns >= WARM_FROM else turns  # after the first, each with its wait
    busy = shards * 2 / (shards * 2 + (turns - 1) * gap)
    assert phases.busy == pytest.approx(busy)
    assert phases.steady_rate == pytest.approx(workers * 5 * busy)


def test_the_steady_state_is_while_all_workers_work():
    late = tasks(2, 8).to_pylist()
    for task in late:  # worker 1 starts a shard later and so ends one later
        if task["worker"] == "w1":
            task["started"] += 2
            task["ended"] += 2
    phases = run_phases(pa.Table.from_pylist(late))
    assert phases.steady_rate == pytest.approx(10)
    assert phases.tail == pytest.approx(2)
