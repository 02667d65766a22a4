"""What is asked of a cascade, and the plan chosen for a batch of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.cascade.by_category import BY_CATEGORY, recall_by_category
from pipeline.cascade.calibration import Calibration
from pipeline.cascade.costs import RECALLS, recall_costs
from pipeline.cascade.drift import Drift
from pipeline.cascade.neighbours import CALLED, Neighbours
from pipeline.cascade.planner import (
    CascadePlan,
    Evidence,
    StageCosts,
    expected_shares,
    plan_within,
    plans_by_recall,
    search_everything,
    thresholds,
)
from pipeline.cascade.queries import Batch
from pipeline.cascade.shard_cascade import StagedQueries
from pipeline.cascade.stages import STAGES
from pipeline.cascade.stages.metadata import Where, matching
from pipeline.core.arrays import Ids, Mask, Vectors
from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.images.manifest import read_manifest
from pipeline.search.condition import Condition
from pipeline.search.queries import Queries
from pipeline.search.unlike import promised, unlike

LEAST_SAMPLE = 40  # calibration images a metadata filter must leave, else everything is searched


@dataclass(frozen=True)
class Goal:
    """What is asked of a cascade."""

    stages: Mapping[str, float | None]  # those that filter, the share to keep where it is set
    where: Where  # empty without a metadata stage
    neighbours: Neighbours
    k: int
    recall: float  # of brute force's k neighbours, proved at ``confidence``
    confidence: float
    seconds: float | None  # a batch may take, by ``workers``; replaces the recall
    workers: int
    condition: Condition | None = None  # beside ``where``
    compare_void: bool = False  # queries to which nothing is promised: with every image

    @property
    def asked(self) -> float | None:
        """Return the recall asked for, None where a time is allowed instead."""
        return self.recall if self.seconds is None else None

    @property
    def needs_embeddings(self) -> bool:
        """Return whether the embeddings of all images must be there."""
        return any(STAGES[name].embeddings for name in self.stages)

    def milliseconds(self, images: int) -> float | None:
        """Return the time allowed an image of a collection of ``images``, None without a limit."""
        return None if self.seconds is None else 1000 * self.seconds * max(1, self.workers) / images


@dataclass(frozen=True)
class Choice:
    """The plan chosen for a batch of queries."""

    calibration: Calibration  # of the images that metadata lets pass
    plan: CascadePlan
    costs: pa.Table  # of other recalls, as recall_costs gives them
    by_category: pa.Table  # as recall_by_category gives it
    queries: StagedQueries
    void: Mask  # bool (q,): queries unlike the calibration's, to which the plan promises nothing
    compared: Mask  # bool (q,): those of them that are compared with every image instead
    planned: tuple[float, ...]  # share of the images that each stage, FIRST to LAST, is to meet


def choose_plan(
    calibration: Calibration, costs: StageCosts, goal: Goal, batch: Batch, images: int
) -> Choice:
    """Return the cheapest plan that reaches ``goal`` over ``images``, and what others would cost.

    The table of costs is empty where the stages leave no choice, or run no CNN, for which the costs
    were measured.
    """
    whole = calibration.sample.num_rows
    calibration = calibration.within(matching(calibration.sample, goal.where, goal.condition))
    left = calibration.sample.num_rows / whole
    if calibration.sample.num_rows < LEAST_SAMPLE or not goal.stages:
        return _everything(calibration, costs, batch.queries, left)
    codes = {
        name: calibration.filters.query_codes(name, batch.features, goal.neighbours)
        for name in goal.stages
    }
    vectors = batch.queries.vectors
    category = calibration.category(vectors, goal.neighbours)
    void = unlike(calibration.nearest(), calibration.nearest_to(batch.queries))
    compared = void & goal.compare_void
    filtered = ~compared | compared.all()  # on the others' CNN runs no plan has a bearing
    asking = {name: of[filtered] for name, of in codes.items()}
    mine, share = category[filtered], whole / images
    evidence = calibration.evidence(
        tuple(goal.stages), goal.neighbours, goal.k, share, asking, mine, costs
    )
    plan, plans = _planned(evidence, goal, goal.milliseconds(images))
    shares = expected_shares(evidence, plan.stages, plan.keep)
    last = 1.0 if compared.any() else shares[-1]
    return Choice(
        calibration,
        plan,
        recall_costs(evidence, plans, left, len(vectors)),
        recall_by_category(
            evidence, plan, calibration.names(), category, goal.asked, goal.confidence
        ),
        _staged(calibration, plan, vectors, codes, category, compared),
        void,
        compared,
        (1.0, *(left * share for share in (*shares[:-1], last))),
    )


def _everything(
    calibration: Calibration, costs: StageCosts, queries: Queries, left: float
) -> Choice:
    """Return the choice to compare all that metadata lets pass, ``left`` of the images."""
    evidence = Evidence({}, np.ones(1), {}, costs, calibration.sample.num_rows)
    plan, none = search_everything(evidence), np.zeros(len(queries.ids), np.bool_)
    others, spread = recall_costs(evidence, [], left, len(queries.ids)), BY_CATEGORY.empty_table()
    staged = StagedQueries(queries.vectors, {}, {})
    return Choice(calibration, plan, others, spread, staged, none, none, (1.0, left))


def plan_for_one(calibration: Calibration, costs: StageCosts, goal: Goal, images: int) -> Choice:
    """Return what choose_plan gives for the first sample image as the only query."""
    first = calibration.sample.slice(0, 1)
    ids, vectors = first["id"].to_numpy(), embedding_matrix(first["embedding"])
    queries = Queries(first["key"].to_pylist(), ids, np.ones(1, np.bool_), vectors)
    return choose_plan(calibration, costs, goal, Batch(queries, first), images)


def _planned(
    evidence: Evidence, goal: Goal, milliseconds: float | None
) -> tuple[CascadePlan, list[CascadePlan]]:
    """Return the plan, and those of RECALLS where there is a choice."""
    recalls = (goal.recall, *RECALLS)
    plan, *plans = plans_by_recall(evidence, goal.stages, recalls, goal.confidence)
    if milliseconds is not None:
        plan = plan_within(evidence, goal.stages, milliseconds, goal.confidence)
    open_to_choice = None in goal.stages.values() and not goal.needs_embeddings
    return plan, plans if open_to_choice else []


def _staged(
    calibration: Calibration,
    plan: CascadePlan,
    vectors: Vectors,
    codes: Mapping[str, Vectors],
    category: Ids,
    compared: Mask,
) -> StagedQueries:
    sample = {stage: calibration.filters.codes(stage, calibration.sample) for stage in plan.stages}
    limits = {
        stage: thresholds(codes[stage] @ sample[stage].T, plan.keeps(number, category))
        for number, stage in enumerate(plan.stages)
    }
    for of_stage in limits.values():
        of_stage[compared] = -np.inf
    return StagedQueries(vectors, {stage: codes[stage] for stage in plan.stages}, limits)


def promise(goal: Goal, choice: Choice, keys: Sequence[str], drift: Drift | None = None) -> str:
    """Return what may be said of the recall of the queries named ``keys``.

    drift: of the images that came since the calibration. Where they are of another kind than those
    it was made on, nothing is promised.
    """
    who, plan = CALLED[goal.neighbours], choice.plan
    every = "every image that passes" if goal.where or goal.condition else "every image"
    if goal.neighbours == "copies":
        who = f"{who} (changed by one or two of: {', '.join(choice.calibration.changes())})"
    if not plan.stages:
        return (
            f"no cascade is proved to reach recall {goal.recall} of {who} for less than the CNN "
            f"on all: {every} was compared"
        )
    if drift and drift.drifted:
        return f"no recall of {who} is promised: {drift.told}; run sluice calibrate again"
    bound = (
        f"recall of {who} against brute force: at least {plan.bound:.3f} with confidence "
        f"{goal.confidence} ({plan.recall:.3f} of {plan.tested} calibration queries' neighbours)"
    )
    remedy = "cascade.compare_void=true, or sluice embed and sluice search, compare everything"
    if choice.compared.any():
        remedy = f"they were compared with {every}"
    said = promised(bound, keys, choice.void, remedy)
    return f"{said}; {drift.told}" if drift else said


def full_embeddings(root: Place, signatures: Store) -> Place:
    """Return where the finished store of all embeddings is: ``root``.

    Raises InputError where it is not finished, StoreError where its shards are not the signatures'.
    """
    embeddings = Store.open(root, "embeddings")
    embeddings.manifest()
    manifests = [read_manifest(store) for store in (embeddings, signatures)]
    if not manifests[0].equals(manifests[1]):
        raise StoreError(
            f"{embeddings.root} and {signatures.root} do not hold the same shards of the same "
            "source; make both of the same source with the same source.shard_rows and ray.workers, "
            "or leave out the pca stage"
        )
    return embeddings.root
