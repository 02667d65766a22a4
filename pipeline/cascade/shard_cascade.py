"""One shard through the cascade: metadata, then stage by stage what passed, the CNN last."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import StageFilters
from pipeline.cascade.feature_cache import FeatureCache
from pipeline.cascade.on_demand import OnDemandFeatures, OnDemandPlan
from pipeline.cascade.stages import LAST, NETWORKS, STAGES
from pipeline.cascade.stages.metadata import Where, matching
from pipeline.core.arrays import Ids, Mask, Vectors
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix, rows_of
from pipeline.embedding.encoder import has_direction
from pipeline.search.condition import Condition
from pipeline.search.exact_topk import ShardTopK, candidate_topk
from pipeline.search.shard_searcher import part_columns


@dataclass(frozen=True)
class StagedQueries:
    """What a batch of queries asks: a stage lets an image pass that scores at least its limit."""

    vectors: Vectors  # (q, d), for the CNN
    codes: Mapping[str, Vectors]  # by stage, in their order: (q, c)
    limits: Mapping[str, Vectors]  # by stage: (q,), -inf of a query for which all pass

    def of(self, rows: Ids) -> "StagedQueries":
        """Return those of the queries numbered ``rows``."""
        codes, limits = (
            {stage: values[rows] for stage, values in by_stage.items()}
            for by_stage in (self.codes, self.limits)
        )
        return StagedQueries(self.vectors[rows], codes, limits)


@dataclass(frozen=True)
class CascadeSearchPlan:
    """All a worker needs to search any shard for a batch of queries."""

    name: ClassVar[str] = "cascade"
    signatures: Place
    embeddings: Place | None  # a finished store over the same shards: no CNN runs
    on_demand: OnDemandPlan
    filters: StageFilters
    where: Where
    queries: StagedQueries
    depth: int  # images a query
    condition: Condition | None = None  # which images must fulfil too

    def asking(self, rows: Ids, depth: int) -> "CascadeSearchPlan":
        """Return the plan for the queries numbered ``rows`` alone, to another depth."""
        return replace(self, queries=self.queries.of(rows), depth=depth)

    def start(self) -> ShardFunction:
        """Load the networks; return the function that searches one shard."""
        return _ShardCascade(self).search


@dataclass
class _Counts:
    """What each stage met of a shard for any query, kept by query, and took."""

    entered: list[int] = field(default_factory=list)
    kept: list[Ids] = field(default_factory=list)  # (q,) each
    milliseconds: list[float] = field(default_factory=list)

    def met(self, images: int, began: float) -> None:
        """Count a stage that met ``images`` since ``began``."""
        self.entered.append(images)
        self.milliseconds.append(1000 * (time.time() - began))


class _ShardCascade:
    def __init__(self, plan: CascadeSearchPlan) -> None:
        self.plan = plan
        self.signatures = Store.open(plan.signatures, "signatures")
        self.embeddings = Store.open(plan.embeddings, "embeddings") if plan.embeddings else None
        self.features: OnDemandFeatures = plan.on_demand.start()
        told = self.embeddings.read_quarantine() if self.embeddings else None
        self.silent: Ids = np.empty(0, np.int64) if told is None else told["id"].to_numpy()

    def search(self, shard: int) -> pa.Table:
        """Return one row: the shard's best by query, and the funnel.

        kept is (stages + 2) x q flat: images that passed metadata, then each stage, then the CNN's
        candidates; entered is what each stage met for any query; milliseconds its time; silent the
        ids of images met that have no embedding, which no query finds.
        """
        started, made, counts = time.time(), dict(self.features.made), _Counts()
        signed = self.signatures.read(shard)
        table = signed.filter(pa.array(matching(signed, self.plan.where, self.plan.condition)))
        counts.met(signed.num_rows, started)
        without: Mask = np.isin(table["id"].to_numpy(), self.silent)
        silent, table = table["id"].to_numpy()[without], table.filter(pa.array(~without))
        alive = self._passing(shard, table, counts)
        part, found = self._best(shard, table["id"].to_numpy(), alive, counts)
        return shard_stats(
            shard,
            signed.num_rows,
            started,
            **part_columns(part),
            kept=np.concatenate(counts.kept),
            entered=np.array(counts.entered),
            milliseconds=np.array(counts.milliseconds),
            silent=np.concatenate([silent, found]),
            **{f"made_{name}": self.features.made[name] - made[name] for name in NETWORKS},
        )

    def _passing(self, shard: int, table: pa.Table, counts: _Counts) -> Mask:
        """Return bool (q, n): whether an image of ``table`` passes all stages for a query."""
        queries = self.plan.queries
        alive = np.ones((len(queries.vectors), table.num_rows), np.bool_)
        counts.kept.append(alive.sum(axis=1))
        for stage, asked in queries.codes.items():
            began, limits = time.time(), queries.limits[stage]
            choosy = np.isfinite(limits)
            some = np.flatnonzero(alive[choosy].any(axis=0))
            codes = self._codes(stage, shard, table.take(pa.array(some)))
            passed = asked[choosy] @ codes.T >= limits[choosy, None]
            alive[np.ix_(choosy, some)] &= passed
            counts.met(len(some), began)
            counts.kept.append(alive.sum(axis=1))
        return alive

    def _best(self, shard: int, ids: Ids, alive: Mask, counts: _Counts) -> tuple[ShardTopK, Ids]:
        """Return the best of those alive for a query, and which of them have no embedding."""
        began, some = time.time(), np.flatnonzero(alive.any(axis=0))
        vectors, asked = self._vectors(shard, ids[some]), self.plan.queries.vectors
        usable, met = has_direction(vectors), len(some)
        silent, some, vectors = ids[some[~usable]], some[usable], vectors[usable]
        part = candidate_topk(asked, ids[some], vectors, alive[:, some], self.plan.depth, shard)
        counts.met(met, began)
        return part, silent

    def _codes(self, name: str, shard: int, table: pa.Table) -> Vectors:
        ids, stage = table["id"].to_numpy(), STAGES[name]
        if stage.embeddings:
            return self._kept_codes(name, shard, ids)
        if stage.network:
            made = embedding_column(self.features.get(name, shard, ids))
            table = table.append_column(stage.network.column, made)
        return self.plan.filters.codes(name, table)

    def _kept_codes(self, name: str, shard: int, ids: Ids) -> Vectors:
        space = self.plan.filters.space
        # Codes of another calibration's space mean something else.
        cache = FeatureCache(self.features.kept, f"{name}-{space.checksum}", len(space.basis))
        codes, _ = cache.get(shard, ids, lambda missing: space.codes(self._vectors(shard, missing)))
        return codes

    def _vectors(self, shard: int, ids: Ids) -> Vectors:
        if self.embeddings is None:
            return self.features.get(LAST, shard, ids)
        if not len(ids):
            return np.empty((0, self.plan.queries.vectors.shape[1]), np.float32)
        table = self.embeddings.read(shard, ["id", "embedding"])
        return rows_of(ids, table["id"].to_numpy(), embedding_matrix(table["embedding"]))
