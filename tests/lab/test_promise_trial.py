import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.calibration import fit_calibration
from pipeline.cascade.planner import CascadePlan, StageCosts
from pipeline.cascade.signature import LENGTH
from pipeline.core.tables import embedding_column
from pipeline.lab.promise_trial import PromiseTrials, Trial, promise_table

COSTS = StageCosts({"signature": 0.001, "rough": 0.5, "cnn": 6.0})
ROUGH = 448


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def features(rng, hidden, maps):
    """Three views of the same hidden facts, the signature the noisiest."""
    noise = rng.normal(size=(len(hidden), LENGTH)) * 30
    signature = np.clip(np.rint(hidden @ maps[0] * 10 + noise + 128), 0, 255).astype(np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(signature.ravel()), LENGTH)
    rough = unit(hidden @ maps[1] + 0.5 * rng.normal(size=(len(hidden), ROUGH)))
    return {"signature": column, "rough": embedding_column(rough)}


@pytest.fixture(scope="module")
def whole():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(16, size)) for size in (LENGTH, ROUGH, 160)]
    tables = []
    for count in (300, 900):
        hidden = rng.normal(size=(count, 16))
        vectors = unit(hidden @ maps[2] + 0.3 * rng.normal(size=(count, 160)))
        columns = features(rng, hidden, maps) | {"embedding": embedding_column(vectors)}
        tables.append(pa.table({"id": np.arange(count)} | columns))
    changed = hidden + 0.1 * rng.normal(size=hidden.shape)
    copies = pa.table({"origin": np.arange(count)} | features(rng, changed, maps))
    return fit_calibration(*tables, copies)


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
