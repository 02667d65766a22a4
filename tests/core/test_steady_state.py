import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.steady_state import steady_state


def tasks(*rows):
    names = ("worker", "started", "ended", "rows")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_the_late_begin_and_the_tail_are_left_out():
    found = steady_state(
        tasks(("a", 0, 4, 8), ("b", 2, 4, 4), ("a", 4, 6, 4), ("b", 4, 6, 4), ("b", 6, 9, 6))
    )
    assert (found.begin, found.end) == (2, 6)
    assert found.rate == pytest.approx((4 + 4 + 4 + 4) / 4)
    assert found.busy == 1


def test_the_first_shard_of_each_worker_warms_it_up():
    slow_first = [(name, 0, 10, 1) for name in "ab"]
    later = [(name, 10 + turn, 11 + turn, 1) for name in "ab" for turn in range(3)]
    found = steady_state(tasks(*slow_first, *later))
    assert (found.begin, found.end, found.rate) == (10, 13, 2)
    found = steady_state(tasks(*slow_first, *later[:2], *later[3:]))  # three are too few
    assert (found.begin, found.end) == (0, 12)


def test_waiting_between_shards_is_not_busy():
    found = steady_state(tasks(("a", 0, 3, 3), ("b", 0, 4, 3), ("a", 3, 4, 1)))
    assert found.busy == 1
    found = steady_state(tasks(("a", 0, 2, 3), ("b", 0, 4, 3), ("a", 3, 4, 1)))
    assert found.busy == pytest.approx(7 / 8)


def test_without_a_time_when_all_worked_the_whole_counts():
    found = steady_state(tasks(("a", 0, 1, 10), ("b", 3, 4, 10)))
    assert (found.begin, found.end, found.rate) == (0, 4, 5)


@given(workers=st.integers(1, 9), turns=st.integers(1, 6), seconds=st.floats(0.01, 100))
def test_equal_workers_without_pauses_are_all_busy(workers, turns, seconds):
    rows = [
        (str(w), turn * seconds, (turn + 1) * seconds, 5)
        for w in range(workers)
        for turn in range(turns)
    ]
    found = steady_state(tasks(*rows))
    assert found.rate == pytest.approx(5 * workers / seconds)
    assert found.busy == pytest.approx(1)
