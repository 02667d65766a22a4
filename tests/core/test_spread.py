from threading import Event

import pyarrow as pa
import pytest

from pipeline.core.errors import StoreError
from pipeline.core.progress import advance
from pipeline.core.spread import BrokenOff, in_process


class Squares:
    """Counts how often it is started."""

    name = "squares"
    started = 0

    def start(self):
        self.started += 1
        return lambda shard: pa.table({"shard": [shard], "rows": [shard**2]})


def test_shards_are_done_in_their_order_by_one_start():
    plan = Squares()
    answers = list(in_process(plan, [3, 1, 2]))
    assert [answer["shard"][0].as_py() for answer in answers] == [3, 1, 2]
    assert plan.started == 1


def test_without_shards_nothing_is_started():
    plan = Squares()
    assert list(in_process(plan, [])) == []
    assert plan.started == 0


def test_a_shard_is_done_only_when_it_is_asked_for():
    done = []

    class Noting(Squares):
        def start(self):
            return lambda shard: done.append(shard) or pa.table({"rows": [1]})

    answers = in_process(Noting(), [0, 1, 2])
    next(answers)
    assert done == [0]
    with pytest.raises(StopIteration):
        [next(answers) for _ in range(3)]


def test_a_shard_tells_how_far_it_is():
    class Telling(Squares):
        def start(self):
            return lambda shard: [advance(2), advance(3)] and pa.table({"rows": [5]})

    heard = []
    list(in_process(Telling(), [4, 7], lambda *told: heard.append(told)))
    assert heard == [(4, 2), (4, 5), (7, 2), (7, 5)]
    advance(1)  # outside a shard nobody listens
    assert len(heard) == 4


class TwoInHand(Squares):
    """Shard 0 ends once shard 1 has begun; shard 1 tells how far it is until it is broken off."""

    in_hand = 2

    def __init__(self, fails=False):
        self.begun, self.ended, self.fails = Event(), [], fails

    def start(self):
        return self.do

    def do(self, shard):
        try:
            if shard == 0:
                assert self.begun.wait(20)
                if self.fails:
                    raise StoreError("the disk is full")
                return pa.table({"shard": [0]})
            self.begun.set()
            while True:
                advance(0)
        except BrokenOff:
            self.ended.append(shard)
            raise


def test_of_two_shards_in_hand_one_that_is_broken_off_is_ended():
    plan = TwoInHand()
    answers = in_process(plan, [0, 1, 2])
    assert next(answers)["shard"].to_pylist() == [0]
    answers.close()
    assert plan.ended[0] == 1


def test_of_two_shards_in_hand_one_that_fails_ends_the_other():
    plan = TwoInHand(fails=True)
    with pytest.raises(StoreError, match="full"):
        list(in_process(plan, [0, 1, 2]))
    assert plan.ended == [1]
