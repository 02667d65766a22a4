import time

import pytest

from pipeline.core.stopwatch import Stopwatch


def test_parts_are_summed_and_one_may_lie_in_another():
    watch = Stopwatch()
    nap = watch.timed("nap", lambda seconds: time.sleep(seconds) or seconds)
    with watch.part("all"):
        assert [nap(0.02), nap(0.03)] == [0.02, 0.03]
    assert 0.05 <= watch.seconds["nap"] <= watch.seconds["all"]
    assert watch.seconds["all"] <= time.time() - watch.started
    assert watch.seconds["never"] == 0


def test_what_fails_is_raised():
    with pytest.raises(ZeroDivisionError):
        Stopwatch().timed("part", lambda number: 1 / number)(0)
