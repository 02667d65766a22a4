import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.calibration import fit_calibration
from pipeline.cascade.calibration_store import (
    calibrated_of,
    is_calibrated,
    keep_calibration,
    stored_calibration,
)
from pipeline.cascade.choice import Goal, choose_plan, plan_for_one, promise
from pipeline.cascade.drift import Drift
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.queries import Batch
from pipeline.cascade.signature import part_slice
from pipeline.cascade.stages import FIRST, LAST, LEARNED, NETWORKS, STAGES
from pipeline.cascade.stages.stage import Stage
from pipeline.core.errors import StoreError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.embedding.models import MODELS, Weights, find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.search.queries import Queries
from tests.helpers.features import made_samples, unit

COSTS = StageCosts({"texture": 0.001, "signature": 0.002, "rough": 0.5, "pca": 0.001, "cnn": 6.0})
CNN = EncoderSettings("efficientnet_lite0", Weights(Path("w"), "1"), "torch", "f32", 64, 8)
IDS = np.arange(3)


def texture(features):
    return embedding_matrix(features["signature"])[:, part_slice("texture")]


@pytest.fixture
def one_more(monkeypatch):
    monkeypatch.setitem(STAGES, "texture", Stage("texture", numbers=texture))
    monkeypatch.setitem(LEARNED, "texture", texture)


def calibrated(store):
    calibration = fit_calibration(*made_samples(200, 400))
    of = calibrated_of(IDS, 200, 400, CNN)
    keep_calibration(store, calibration, COSTS, of)
    return of


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path, "signatures", {})
    store.write_shard(0, pa.table({"id": IDS}))
    store.finish(1)
    return store


def goal(stages, **others):
    wanted = {"recall": 0.5, "confidence": 0.9, "seconds": None, "workers": 2} | others
    return Goal(dict.fromkeys(stages), (), "semantic", 5, **wanted)


def chosen(stored, goal):
    asked = stored.calibration.sample.slice(0, 2)
    queries = Queries(["a", "b"], IDS[:2], np.ones(2, bool), embedding_matrix(asked["embedding"]))
    return choose_plan(stored.calibration, stored.costs, goal, Batch(queries, asked), 4000)


def test_the_configuration_knows_the_stages_without_any_network():
    code = (
        "import jobs.config, sys; "
        "print({'torch', 'ray', 'faiss', 'cv2', 'sklearn', 'numpy', 'pyarrow'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_the_first_stage_compares_columns_and_the_last_is_the_cnn():
    assert list(STAGES) == ["metadata", "signature", "rough", "pca", "cnn"]
    assert (FIRST, LAST) == ("metadata", "cnn")
    assert [name for name, stage in STAGES.items() if stage.where] == [FIRST]
    assert [name for name, stage in STAGES.items() if stage.filters] == [
        "signature",
        "rough",
        "pca",
    ]
    assert list(LEARNED) == ["signature", "rough"]
    assert list(NETWORKS) == ["rough", "cnn"]


def test_a_stage_is_fitted_kept_and_planned_with_by_what_its_own_file_says(one_more, store):
    of = calibrated(store)
    assert is_calibrated(store, of)
    stored = stored_calibration(store, CNN)
    assert stored.current
    learned = stored.calibration.filters.learned["texture"]
    assert learned.weights.shape == (26, 64)
    codes = stored.calibration.filters.codes("texture", stored.calibration.sample)
    assert codes.shape == (400, 64)
    choice = chosen(stored, goal(["texture"]))
    assert choice.plan.stages == ("texture",)
    assert choice.plan.bound >= 0.5
    assert choice.queries.limits["texture"].shape == (2,)
    assert set(choice.costs["stage"].to_pylist()) == {"texture", "cnn"}


def strays(stored):
    """40 of the sample as queries, and 40 unlike them."""
    sample = stored.calibration.sample
    stray = unit(np.random.default_rng(9).normal(size=(40, 160)))
    vectors = np.concatenate([embedding_matrix(sample["embedding"])[:40], stray])
    own = np.repeat([True, False], 40)
    queries = Queries([f"q{n}" for n in range(80)], np.arange(80), own, vectors)
    asked = pa.concat_tables([sample.slice(0, 40)] * 2)
    asked = asked.set_column(
        asked.column_names.index("embedding"), "embedding", embedding_column(vectors)
    )
    return Batch(queries, asked)


def test_nothing_is_promised_for_queries_unlike_the_calibrations(store):
    calibrated(store)
    stored = stored_calibration(store, CNN)
    batch = strays(stored)
    wanted, queries = goal(["signature"]), batch.queries
    choice = choose_plan(stored.calibration, stored.costs, wanted, batch, 4000)
    assert choice.void[:40].sum() <= 6
    assert choice.void[40:].sum() >= 36
    told = promise(wanted, choice, queries.keys)
    assert told.startswith("recall of ")
    assert f"void for {choice.void.sum()} of 80 queries" in told
    assert promise(wanted, choice, queries.keys, Drift(9, 9, 0.5)).startswith("recall of ")
    withdrawn = promise(wanted, choice, queries.keys, Drift(9, 9, 0.001))
    assert withdrawn.startswith("no recall of ")
    assert "run sluice calibrate again" in withdrawn


def test_queries_unlike_the_calibrations_are_compared_with_everything_where_asked(store):
    calibrated(store)
    stored = stored_calibration(store, CNN)
    batch = strays(stored)
    told, asked = goal(["rough"]), goal(["rough"], compare_void=True)
    plain, choice = (
        choose_plan(stored.calibration, stored.costs, wanted, batch, 4000)
        for wanted in (told, asked)
    )
    limits = choice.queries.limits["rough"]
    assert np.array_equal(limits == -np.inf, plain.void)
    assert np.array_equal(choice.compared, plain.void)
    assert not plain.compared.any()
    assert choice.planned[-1] == 1.0 > plain.planned[-1]
    assert choice.plan.milliseconds < plain.plan.milliseconds
    assert "they were compared with every image" in promise(asked, choice, batch.queries.keys)
    rows, of = np.flatnonzero(plain.void), batch.queries
    keys = [of.keys[row] for row in rows]
    alone = Queries(keys, of.ids[rows], of.stored[rows], of.vectors[rows])
    some = Batch(alone, batch.features.take(pa.array(rows)))
    choice = choose_plan(stored.calibration, stored.costs, asked, some, 4000)
    assert choice.compared.all()
    assert not promise(asked, choice, keys).startswith("recall")


def test_a_calibration_tells_what_a_single_query_would_be_promised(store):
    calibrated(store)
    stored = stored_calibration(store, CNN)
    choice = plan_for_one(stored.calibration, stored.costs, goal(["signature"]), 4000)
    *categories, together = choice.by_category.to_pylist()
    keys = stored.calibration.sample["key"].to_pylist()
    assert len({row["like"] for row in categories} & set(keys)) == len(categories) > 1
    assert sum(row["queries"] for row in categories) == together["queries"] == 1
    assert together["bound"] == choice.plan.bound >= together["asked"] == 0.5
    allowed = goal(["signature"], seconds=0.5)
    choice = plan_for_one(stored.calibration, stored.costs, allowed, 4000)
    assert choice.by_category["asked"].null_count == choice.by_category.num_rows


def test_a_calibration_without_one_of_the_stages_is_made_again(store, monkeypatch):
    of = calibrated(store)
    assert stored_calibration(store, CNN).current
    monkeypatch.setitem(LEARNED, "texture", texture)
    assert not is_calibrated(store, calibrated_of(IDS, 200, 400, CNN))
    assert not is_calibrated(store, of | {"filters": list(LEARNED)})
    with pytest.raises(StoreError, match="other stages; run sluice calibrate again"):
        stored_calibration(store, CNN)


def test_images_that_came_since_are_told_and_their_order_does_not_count(store):
    of = calibrated(store)
    assert calibrated_of(IDS[::-1], 200, 400, CNN) == of
    store.write_shard(1, pa.table({"id": IDS + 3}))
    store.finish(2)
    assert not stored_calibration(store, CNN).current


def test_a_time_allowed_is_shared_by_the_workers_and_by_this_process_alone(store):
    calibrated(store)
    stored = stored_calibration(store, CNN)
    two, none = (goal(["rough"], seconds=4.0, workers=workers) for workers in (2, 0))
    assert two.milliseconds(4000) == 2.0
    assert none.milliseconds(4000) == 1.0
    assert goal(["rough"]).milliseconds(4000) is None
    assert chosen(stored, none).plan.milliseconds <= 1.0
    assert chosen(stored, goal(["pca"])).costs.num_rows == 0


def test_the_rough_stage_runs_the_network_that_the_cnn_names():
    rough = NETWORKS["rough"].settings(CNN)
    assert rough.model == MODELS[CNN.model].rough
    assert (rough.backend, rough.precision, rough.input_size) == ("torch", "f32", 64)
    assert rough.weights == find_weights(rough.model, None)
