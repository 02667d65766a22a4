import pytest

from pipeline.lab.scaling.emulated_stages import EmulatedStages, passing


def test_each_stage_meets_what_the_one_before_passed_on():
    assert passing(1_000_000, (0.1, 0.1)) == [1_000_000, 100_000, 10_000]
    assert passing(7, ()) == [7]


def test_a_shard_sleeps_for_all_its_stages(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    EmulatedStages(100, (1.0, 10.0, 100.0), (0.1, 0.1)).start()(0)
    assert slept == pytest.approx([0.1, 0.1, 0.1])
