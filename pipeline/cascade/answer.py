"""What a cascade answers: a search of every shard through the stages of the chosen plan."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.cascade.choice import Choice, Goal
from pipeline.cascade.funnel import Funnel
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.planner import CascadePlan
from pipeline.cascade.shard_cascade import CascadeSearchPlan
from pipeline.core.arrays import Ids, Scores
from pipeline.core.folder import Place
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.embedding.shard_embedder import without_direction
from pipeline.images.squares import QUARANTINE
from pipeline.search.answers import recall_table, result_table, without_self
from pipeline.search.batches import search_in_batches
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.merge import SPARE, Merged
from pipeline.search.queries import Queries, find_images


@dataclass(frozen=True)
class CascadeAnswer:
    """What a batch of queries found, and the funnel it went through."""

    queries: Queries
    choice: Choice
    ids: Ids  # (q, k)
    scores: Scores  # (q, k)
    funnel: Funnel

    @property
    def plan(self) -> CascadePlan:
        return self.choice.plan


def answer_queries(
    spread: Spread,
    signatures: Store,
    embeddings: Place | None,
    on_demand: OnDemandPlan,
    goal: Goal,
    queries: Queries,
    choice: Choice,
    record: RunRecord,
) -> CascadeAnswer:
    """Return the ``goal.k`` best of every query among the images that pass all stages."""
    plan = CascadeSearchPlan(
        signatures.root,
        embeddings,
        on_demand,
        choice.calibration.filters,
        goal.where,
        choice.queries,
        goal.k + 1,
        goal.condition,
    )
    shards = [entry.shard for entry in signatures.manifest()]
    merged, funnel = search_stages(spread, plan, shards, record)
    ids, scores = without_self(queries, merged, goal.k)
    return CascadeAnswer(queries, choice, ids, scores, funnel)


def search_stages(
    spread: Spread, plan: CascadeSearchPlan, shards: Sequence[int], record: RunRecord
) -> tuple[Merged, Funnel]:
    """Return the certified top ``plan.depth`` of every query among its candidates, and the funnel.

    Queries that are asked again, deeper, meet the same images: that only takes more time.
    """
    count, k = len(plan.queries.vectors), plan.depth
    funnel = Funnel.empty(tuple(plan.queries.codes), count)

    def told(answer: pa.Table, rows: Ids, depth: int) -> None:
        funnel.add(answer, rows, first=depth == k + SPARE)

    merged = search_in_batches(spread, plan.asking, shards, count, k, record, told)
    return merged, funnel


def answer_tables(
    store: Store, answer: CascadeAnswer, recall: list[CopyRecall], least: float
) -> dict[str, pa.Table]:
    """Return the answer as tables by name, the funnel's and what other recalls cost among them.

    Results that score below ``least`` are left out.
    """
    queries, funnel = answer.queries, answer.funnel
    return {
        "results": result_table(store, queries, answer.ids, answer.scores, least=least),
        "recall": recall_table(recall),
        "funnel": funnel.overall(answer.choice.planned, answer.plan.recalls),
        "funnel_by_query": funnel.by_query(queries.keys),
        "recall_costs": answer.choice.costs,
        "by_category": answer.choice.by_category,
        "quarantine": _without_embedding(store, funnel),
    }


def _without_embedding(store: Store, funnel: Funnel) -> pa.Table:
    """Return the QUARANTINE's rows of images that the CNN met and has nothing to say of."""
    if not funnel.silent:
        return QUARANTINE.empty_table()
    found = find_images(store, list(funnel.silent), ["id", "key"])
    return without_direction(found.sort_by("id"))
