"""One shard through the cascade: metadata, then stage by stage what passed, the CNN last."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cascade.calibration import StageFilters
from pipeline.cascade.feature_cache import FeatureCache
from pipeline.cascade.filters import COMPONENTS
from pipeline.cascade.on_demand import OnDemandFeatures, OnDemandPlan
from pipeline.core.arrays import Ids, Mask, Vectors
from pipeline.core.errors import ConfigError
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix, rows_of
from pipeline.search.exact_topk import candidate_topk
from pipeline.search.shard_searcher import part_columns

Where = Sequence[tuple[str, str, Any]]


@dataclass(frozen=True)
class StagedQueries:
    """What a batch of queries asks: a stage lets an image pass that scores at least its limit."""

    vectors: Vectors  # f32 (q, d), for the CNN
    codes: Mapping[str, Vectors]  # by stage, in their order: f32 (q, 64)
    limits: Mapping[str, Vectors]  # by stage: f32 (q,)

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
    signatures: Path
    embeddings: Path | None  # a finished store over the same shards: no CNN runs
    on_demand: OnDemandPlan
    filters: StageFilters
    where: Where  # (column, operator, value), all of which must hold
    queries: StagedQueries
    depth: int  # images a query

    def asking(self, rows: Ids, depth: int) -> "CascadeSearchPlan":
        """Return the plan for the queries numbered ``rows`` alone, to another depth."""
        return replace(self, queries=self.queries.of(rows), depth=depth)

    def start(self) -> ShardFunction:
        """Load the networks; return the function that searches one shard."""
        return _ShardCascade(self).search


class _ShardCascade:
    def __init__(self, plan: CascadeSearchPlan) -> None:
        self.plan = plan
        self.signatures = Store.open(plan.signatures, "signatures")
        self.embeddings = Store.open(plan.embeddings, "embeddings") if plan.embeddings else None
        self.features: OnDemandFeatures = plan.on_demand.start()

    def search(self, shard: int) -> pa.Table:
        """Return one row: the shard's best by query, and the funnel.

        kept is (stages + 2) x q flat: images that passed metadata, then each stage, then the CNN's
        candidates; entered is what each stage met for any query; milliseconds its time.
        """
        started, plan, queries = time.time(), self.plan, self.plan.queries
        made = dict(self.features.made)
        table = self.signatures.read(shard)
        rows = matching(table, plan.where)
        spent, entered = [1000 * (time.time() - started)], [table.num_rows]
        table = table.filter(pa.array(rows))
        alive = np.ones((len(queries.vectors), table.num_rows), np.bool_)
        kept = [alive.sum(axis=1)]
        for stage in queries.codes:
            began, some = time.time(), np.flatnonzero(alive.any(axis=0))
            codes = self._codes(stage, shard, table.take(pa.array(some)))
            alive[:, some] &= queries.codes[stage] @ codes.T >= queries.limits[stage][:, None]
            spent.append(1000 * (time.time() - began))
            entered.append(len(some))
            kept.append(alive.sum(axis=1))
        began, some = time.time(), np.flatnonzero(alive.any(axis=0))
        ids = table["id"].to_numpy()[some]
        vectors = self._vectors(shard, ids)
        part = candidate_topk(queries.vectors, ids, vectors, alive[:, some], plan.depth, shard)
        spent.append(1000 * (time.time() - began))
        entered.append(len(some))
        return shard_stats(
            shard,
            len(rows),
            started,
            **part_columns(part),
            kept=np.concatenate(kept),
            entered=np.array(entered),
            milliseconds=np.array(spent),
            made_rough=self.features.made["rough"] - made["rough"],
            made_cnn=self.features.made["cnn"] - made["cnn"],
        )

    def _codes(self, stage: str, shard: int, table: pa.Table) -> Vectors:
        ids = table["id"].to_numpy()
        if stage == "pca":
            return self._pca_codes(shard, ids)
        if stage == "rough":
            rough = embedding_column(self.features.get("rough", shard, ids))
            table = table.append_column("rough", rough)
        return self.plan.filters.codes(stage, table)

    def _pca_codes(self, shard: int, ids: Ids) -> Vectors:
        space = self.plan.filters.space
        # Codes of another calibration's space mean something else.
        cache = FeatureCache(self.features.kept, f"pca-{space.checksum}", COMPONENTS)
        codes, _ = cache.get(shard, ids, lambda missing: space.codes(self._vectors(shard, missing)))
        return codes

    def _vectors(self, shard: int, ids: Ids) -> Vectors:
        if self.embeddings is None:
            return self.features.get("cnn", shard, ids)
        if not len(ids):
            return np.empty((0, self.plan.queries.vectors.shape[1]), np.float32)
        table = self.embeddings.read(shard, ["id", "embedding"])
        return rows_of(ids, table["id"].to_numpy(), embedding_matrix(table["embedding"]))


def matching(table: pa.Table, where: Where) -> Mask:
    """Return bool (n,): the rows for which all of ``where`` hold.

    Raises ConfigError for a column that is not there or a value it cannot be compared with.
    """
    if not where:
        return np.ones(table.num_rows, np.bool_)
    missing = sorted({column for column, _, _ in where} - set(table.column_names))
    if missing:
        raise ConfigError(
            f"cascade.stages: no column {missing[0]}; there are {', '.join(table.column_names)}"
        )
    rows = table.select(list(dict.fromkeys(column for column, _, _ in where))).append_column(
        "_row", pa.array(np.arange(table.num_rows))
    )
    try:
        kept = rows.filter(pq.filters_to_expression(list(where)))["_row"].to_numpy()
    except (pa.ArrowException, ValueError) as error:
        raise ConfigError(f"cascade.stages: the metadata filter cannot run ({error})") from error
    found = np.zeros(table.num_rows, np.bool_)
    found[kept] = True
    return found
