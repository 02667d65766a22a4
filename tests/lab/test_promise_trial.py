import numpy as np
import pytest

from pipeline.cascade.calibration import fit_calibration
from pipeline.cascade.planner import CascadePlan, StageCosts
from pipeline.lab.promise_trial import PromiseTrials, Trial, promise_table
from tests.helpers.features import made_samples

COSTS = StageCosts({"signature": 0.001, "rough": 0.5, "cnn": 6.0})


@pytest.fixture(scope="module")
def whole():
    return fit_calibration(*made_samples(300, 900))


@pytest.mark.parametrize("neighbours", ["semantic", "copies"])
def test_the_recall_reached_is_the_one_promised_and_a_trial_can_be_repeated(whole, neighbours):
    trials = PromiseTrials(whole, neighbours, k=5)
    found = [trials.run(400, 0.8, 0.95, seed, COSTS) for seed in range(12)]
    assert found[3] == trials.run(400, 0.8, 0.95, 3, COSTS)
    assert sum(trial.recall < 0.8 for trial in found) <= 2
    assert all(trial.plan.stages for trial in found)
    assert np.median([trial.plan.milliseconds for trial in found]) < 3


def test_a_promise_that_cannot_be_kept_is_not_made(whole):
    trial = PromiseTrials(whole, "semantic", k=5).run(400, 0.999, 0.95, 0, COSTS)
    assert trial.plan.stages == ()
    assert trial.recall == 1.0


def test_the_table_counts_broken_promises_and_plans_given_up():
    def trial(recall, cost, stages=("rough",)):
        return Trial(CascadePlan(stages, (5,) * len(stages), 10, (recall,), 0.8, cost, 9), recall)

    found = {"semantic": [trial(0.7, 3.0), trial(0.8, 2.0), trial(1.0, 6.0, ())]}
    (row,) = promise_table(found, 0.8, COSTS).to_pylist()
    assert (row["neighbours"], row["broken"], row["gave up"]) == ("semantic", 1, 1)
    assert row["share"] == pytest.approx(1 / 3)
    assert 0.8 < row["at most, 95 %"] < 0.9
    assert (row["recall"], row["least"]) == (0.8, 0.7)
    assert row["speed-up"] == 2.0
