"""The cascade beside brute force over the same images: seconds while workers worked, and recall."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipeline.cascade.answer import answer_queries
from pipeline.cascade.calibration import Calibration, draw_samples, groups
from pipeline.cascade.choice import Goal, choose_plan
from pipeline.cascade.costs import measure_costs
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.on_demand import OnDemandPlan, on_demand_plan
from pipeline.cascade.planner import CascadePlan, StageCosts
from pipeline.cascade.queries import gather_batch
from pipeline.cascade.sampler import SamplePlan, sample_calibration, sample_features
from pipeline.cascade.shard_signer import signature_identity
from pipeline.cascade.sign_source import sign_source
from pipeline.core.arrays import Ids, Vectors
from pipeline.core.bounds import interval
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import NearGpu, Spread, Spreading
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import embedding_matrix
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed
from pipeline.lab.break_even import BreakEven
from pipeline.lab.cascade_truth import passing_pairs, true_pairs
from pipeline.lab.embed_rounds import embed_anew
from pipeline.search.batches import search_everything
from pipeline.search.queries import stored_queries

RECALL_QUERIES = 200
FILTER_ONLY: Mapping[str, float | None] = {"signature": None}
SEED = 0


class Workers(Protocol):
    """Where shards are done, and what that took."""

    @property
    def record(self) -> RunRecord: ...
    @property
    def spread(self) -> Spread: ...
    @property
    def spreading(self) -> Spreading: ...
    @property
    def near_gpu(self) -> NearGpu: ...


Sit = Callable[[int, bool], AbstractContextManager[Workers]]  # images; with a share of a GPU


@dataclass(frozen=True)
class Collection:
    """The images, the CNN they are compared by, and an empty folder for all that is made."""

    listed: Listed
    shard_rows: ShardRows
    cnn: EncoderSettings
    folder: Path
    sit: Sit

    @property
    def on_gpu(self) -> bool:
        return self.cnn.backend == "cuda"

    def on_demand(self, signatures: Store, cache: Path) -> OnDemandPlan:
        """Return the plan that makes features of single images, and keeps them in ``cache``."""
        return on_demand_plan(self.listed.source, signatures, cache, self.cnn)


@dataclass(frozen=True)
class Prepared:
    """Everything embedded, signed and calibrated; the seconds by what was done."""

    embeddings: Store
    signatures: Store
    calibration: Calibration
    costs: StageCosts
    seconds: dict[str, float]  # embed, sign, calibrate, search: one exact search
    ids: Ids  # (n,), ascending
    vectors: Vectors  # (n, d)
    group: Ids  # (n,): copies share theirs

    @property
    def brute_force(self) -> float:
        """The seconds of embedding all and comparing one query with all."""
        return self.seconds["embed"] + self.seconds["search"]

    def drawn(self, count: int) -> list[int]:
        """Return ids spread evenly, none of the first: those are special in a made corpus."""
        places = np.linspace(0, len(self.ids) - 1, count + 2)[1:-1].astype(int)
        return [int(number) for number in self.ids[places]]


@dataclass(frozen=True)
class Way:
    """One way to answer single queries by the cascade: seconds by query, and the last plan."""

    neighbours: Neighbours
    name: str
    seconds: list[float]
    plan: CascadePlan


def prepare(made: Collection, fit: int, sample: int, k: int) -> Prepared:
    """Do brute force with one query, sign and calibrate, each timed."""
    seconds: dict[str, float] = {}
    with made.sit(0, made.on_gpu) as workers:
        root, record = made.folder / "embeddings", workers.record
        embeddings = embed_anew(
            made.listed, made.shard_rows, made.cnn, root, workers.spread, record
        )
        seconds["embed"] = _worked(workers)
    with made.sit(0, False) as workers:
        signatures = Store.create(made.folder / "signatures", "signatures", signature_identity())
        sign_source(signatures, made.listed, made.shard_rows, workers.spread, workers.record)
        seconds["sign"] = _worked(workers)
    with made.sit(fit + sample, made.on_gpu) as workers:
        calibration, costs = _calibrated(made, signatures, fit, sample, workers)
        seconds["calibrate"] = _worked(workers)
    tables = [embeddings.read(entry.shard) for entry in embeddings.manifest()]
    whole = pa.concat_tables(tables).sort_by("id")
    ids = whole["id"].to_numpy()
    with made.sit(len(ids), False) as workers:
        asked = stored_queries(embeddings, [int(ids[0])])
        search_everything(workers.spread, embeddings, asked, k + 1, workers.record)
        seconds["search"] = _worked(workers)
    vectors, group = embedding_matrix(whole["embedding"]), groups(whole)
    return Prepared(embeddings, signatures, calibration, costs, seconds, ids, vectors, group)


def _worked(workers: Workers) -> float:
    return workers.record.seconds["workers at work"]


def _calibrated(
    made: Collection, signatures: Store, fit: int, sample: int, workers: Workers
) -> tuple[Calibration, StageCosts]:
    by_shard = ids_by_shard(signatures)
    drawn = draw_samples(np.concatenate(list(by_shard.values())), fit, sample, SEED)
    plan = made.on_demand(signatures, made.folder / "calibration")
    calibration = sample_calibration(
        signatures, plan, *drawn, by_shard, workers.spreading, workers.record
    )
    costs = workers.near_gpu(plan.backend, lambda: measure_costs(plan, signatures, calibration))
    return calibration, costs


def ask_cascade(
    made: Collection, there: Prepared, goal: Goal, number: int, features: Path
) -> tuple[CascadePlan, float]:
    """Answer the query image ``number`` by the cascade; return its plan and seconds.

    CNN features are looked for, and kept, in the store ``features``.
    """
    on_demand, store = made.on_demand(there.signatures, features), there.signatures
    embeddings = there.embeddings.root if goal.needs_embeddings else None
    images = store.images()
    with made.sit(images, made.on_gpu) as workers:
        text = (f"id:{number}",)
        batch = gather_batch(store, on_demand, text, 0, workers.spreading, workers.near_gpu)
        choice = choose_plan(there.calibration, there.costs, goal, batch, images)
        queries, record = batch.queries, workers.record
        answer_queries(workers.spread, store, embeddings, on_demand, goal, queries, choice, record)
        return choice.plan, _worked(workers)


def time_ways(
    made: Collection, there: Prepared, goals: Mapping[str, Goal], queries: int
) -> list[Way]:
    """Time single queries by every way of ``goals``: with nothing made yet, and again, warm."""
    seconds: dict[str, list[float]] = {}
    plans: dict[str, tuple[Neighbours, CascadePlan]] = {}
    for number in there.drawn(queries):
        for way, goal in goals.items():
            with tempfile.TemporaryDirectory(dir=made.folder) as features:
                for name in (way, f"{way}, warm"):
                    plan, taken = ask_cascade(made, there, goal, number, Path(features))
                    seconds.setdefault(name, []).append(taken)
                    plans[name] = (goal.neighbours, plan)
    return [Way(who, name, seconds[name], plan) for name, (who, plan) in plans.items()]


def time_in_turn(made: Collection, there: Prepared, goal: Goal, queries: int) -> BreakEven:
    """Ask one query after the other, each finding what those before have made."""
    with tempfile.TemporaryDirectory(dir=made.folder) as features:
        seconds = [
            ask_cascade(made, there, goal, number, Path(features))[1]
            for number in there.drawn(queries)
        ]
    return BreakEven(np.array(seconds), there.seconds["embed"], there.seconds["search"])


def recalls_of(made: Collection, there: Prepared, ways: Sequence[Way], k: int) -> list[str]:
    """Return for each of ``ways`` the share of brute force's neighbours that its plan lets pass.

    They are those of RECALL_QUERIES images; the share is given with its 95 % interval.
    """
    rows = np.searchsorted(there.ids, there.drawn(RECALL_QUERIES))
    told = []
    for way in ways:
        who = way.neighbours
        asked, wanted = true_pairs(there.ids, there.vectors, there.group, rows, who, k)
        if not len(asked):
            told.append("no copies known")
            continue
        features = _features(made, there.signatures, np.union1d(asked, wanted))
        passed = passing_pairs(there.calibration, way.plan, who, features, asked, wanted)
        found, drawn = int(passed.sum()), len(passed)
        low, high = interval(found, drawn)
        promised = f"promised {way.plan.bound:.3f}"
        told.append(f"{found / drawn:.3f} ({low:.3f}-{high:.3f}), {promised}")
    return told


def _features(made: Collection, signatures: Store, ids: Ids) -> pa.Table:
    on_demand = made.on_demand(signatures, made.folder / "calibration")
    plan = SamplePlan(on_demand, signatures.root, ids, np.empty(0, np.int64))
    with made.sit(len(ids), made.on_gpu) as workers:
        features, _ = sample_features(plan, ids_by_shard(signatures), workers.spreading)
    return features
