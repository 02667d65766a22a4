from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.cascade.answer import search_stages
from pipeline.cascade.shard_cascade import CascadeSearchPlan, StagedQueries
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats
from pipeline.search.exact_topk import candidate_topk
from pipeline.search.shard_searcher import part_columns

IMAGES, SHARDS = 60, (0, 1)
VECTORS = np.eye(4, dtype=np.float32)


def plan(queries):
    nothing = StagedQueries(VECTORS[queries], {}, {})
    return CascadeSearchPlan(Path(), None, None, None, (), nothing, 2)


def spread(plan, shards):
    """Every image is query 0's own vector, so that its best are certified by the whole shard."""
    asked = plan.queries.vectors
    for shard in shards:
        ids = np.arange(IMAGES) + IMAGES * shard
        vectors = np.repeat(VECTORS[:1], IMAGES, axis=0)
        vectors[-2:] = VECTORS[1]
        alive = np.ones((len(asked), IMAGES), bool)
        part = candidate_topk(asked, ids, vectors, alive, plan.depth, shard)
        counts = {"kept": alive.sum(axis=1), "entered": np.array([IMAGES, IMAGES])}
        yield shard_stats(
            shard,
            IMAGES,
            0.0,
            **part_columns(part),
            **counts,
            milliseconds=np.ones(2),
            silent=np.empty(0, np.int64),
            made_rough=0,
            made_cnn=1,
        )


def test_queries_asked_again_deeper_meet_the_same_images():
    merged, funnel = search_stages(spread, plan([0, 1]), SHARDS, RunRecord("cascade", 0, 0))
    assert merged.ids.tolist() == [[0, 1], [58, 59]]
    assert merged.certified.all()
    assert funnel.kept.tolist() == [[2 * IMAGES] * 2]
    assert funnel.entered.tolist() == [2 * IMAGES] * 2
    assert funnel.milliseconds.tolist() == [4.0, 4.0]
    assert funnel.made == {"rough": 0, "cnn": 4}


def test_batches_of_queries_give_the_same_answer(monkeypatch):
    searched = plan([0, 1, 1])
    whole, funnel = search_stages(spread, searched, SHARDS, RunRecord("cascade", 0, 0))
    monkeypatch.setattr("pipeline.search.batches.QUERIES_AT_ONCE", 2)
    parts, again = search_stages(spread, searched, SHARDS, RunRecord("cascade", 0, 0))
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(funnel.kept, again.kept)


def test_a_plan_for_some_queries_holds_their_limits_alone():
    codes, limits = {"rough": np.arange(4.0)[:, None]}, {"rough": np.arange(4.0)}
    staged = StagedQueries(VECTORS, codes, limits)
    some = replace(plan([0]), queries=staged).asking(np.array([3, 1]), 7)
    assert some.depth == 7
    assert some.queries.codes["rough"][:, 0].tolist() == [3.0, 1.0]
    assert some.queries.limits["rough"].tolist() == [3.0, 1.0]
    assert np.array_equal(some.queries.vectors, VECTORS[[3, 1]])
