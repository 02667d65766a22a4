"""`sluice cascade`: the most similar images of each query, with the CNN run on few."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.gpu_call import call_near_gpu
from cluster.session import gpu_share, ray_session
from cluster.shard_map import map_shards
from jobs.calibrate import on_demand_plan, sample_features, stored_calibration
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, print_table, track
from jobs.search import refuse_no_queries
from pipeline.cascade.calibration import CALLED, Calibration
from pipeline.cascade.costs import RECALLS, recall_costs
from pipeline.cascade.funnel import Funnel
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.planner import (
    CascadePlan,
    Evidence,
    StageCosts,
    plan_within,
    plans_by_recall,
    search_everything,
    thresholds,
)
from pipeline.cascade.shard_cascade import CascadeSearchPlan, matching
from pipeline.cascade.shard_signer import sign_images
from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import write_atomically
from pipeline.core.ids import NO_ID
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import embedding_column, embedding_matrix, parquet_bytes
from pipeline.images.manifest import read_manifest
from pipeline.pages.cascade import render_cascade
from pipeline.search.answers import known_copies, recall_table, result_table, without_self
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import Merged, search_certified
from pipeline.search.queries import Queries, sample_ids, split_queries
from pipeline.search.shard_searcher import read_part

LEAST_SAMPLE = 40  # calibration images a metadata filter must leave, else everything is searched
SHOWN = 5


@click.command()
@click.argument("queries", nargs=-1)
@with_config
def command(config: Config, queries: tuple[str, ...]) -> None:
    """Find the images most similar to QUERIES: image files, folders, or id:NUMBER."""
    if queries:
        wanted = config.search.model_copy(update={"queries": queries})
        config = config.model_copy(update={"search": wanted})
    cascade(config)


@dataclass(frozen=True)
class Batch:
    """The queries of one run: what is asked for, and all their features."""

    queries: Queries
    features: pa.Table  # embedding, signature, rough


@dataclass(frozen=True)
class CascadeRun:
    """What a run found and what it took."""

    batch: Batch
    plan: CascadePlan
    costs: pa.Table  # of other recalls, as recall_costs gives them
    ids: np.ndarray[Any, Any]  # int64 (q, k)
    scores: np.ndarray[Any, Any]  # float64 (q, k)
    funnel: Funnel


def cascade(config: Config) -> CascadeRun:
    """Run the job: plan, search every shard through the stages, merge, write results and page."""
    refuse_no_queries(config)
    store = Store.open(config.sign.output.resolve(), "signatures")
    embeddings = full_embeddings(config, store)
    calibration, costs = stored_calibration(config, store)
    record = RunRecord("cascade", store.images(), config.ray.workers)
    on_demand = on_demand_plan(config, store)
    with (
        Store.open(on_demand.cache, "features").lock(),
        ray_session(config.ray.workers, config.ray.address),
    ):
        batch = gather_batch(config, store, on_demand, record)
        with record.stage("plan"):
            calibration, plan, others, codes = choose_plan(config, store, calibration, costs, batch)
        merged, funnel = search_stages(
            config, store, embeddings, on_demand, calibration, plan, codes, batch, record
        )
    ids, scores = without_self(batch.queries.ids, merged, config.search.k)
    run = CascadeRun(batch, plan, others, ids, scores, funnel)
    output = config.cascade.output.resolve()
    with record.stage("write"):
        recall = known_copies(store, batch.queries.ids, ids)
        _write(config, store, run, recall, output)
    record.save(output)
    _print(config, run, recall, costs, output)
    return run


def gather_batch(config: Config, store: Store, plan: OnDemandPlan, record: RunRecord) -> Batch:
    """Return the queries with all their features: image files first, then ids of the store."""
    ids, paths = split_queries(config.search.queries)
    ids = list(dict.fromkeys(ids + sample_ids(store, config.search.sample_queries)))
    parts = [_file_features(paths, plan, config.ray.address)] if paths else []
    if ids:
        by_shard = ids_by_shard(store)
        there = np.concatenate(list(by_shard.values()))
        missing = np.setdiff1d(ids, there)
        if len(missing):
            raise InputError(f"{store.root} holds no image with id {missing[0]}; see its id column")
        wanted = np.array(ids, np.int64)
        none = np.empty(0, np.int64)
        found, _ = sample_features(config, store, plan, wanted, none, by_shard, record)
        order = np.searchsorted(found["id"].to_numpy(), wanted)
        parts.append(found.take(pa.array(order)))
    if not parts:
        raise InputError("the query folders hold no images; name others")
    names = ["id", "key", "embedding", "signature", "rough"]
    table = pa.concat_tables([part.select(names) for part in parts])
    vectors = embedding_matrix(table["embedding"])
    return Batch(Queries(table["key"].to_pylist(), table["id"].to_numpy(), vectors), table)


def _file_features(paths: list[Path], plan: OnDemandPlan, address: str | None) -> pa.Table:
    images = pa.table(
        {
            "id": pa.array([NO_ID] * len(paths), pa.int64()),
            "key": [str(path) for path in paths],
            "bytes": pa.array([path.read_bytes() for path in paths], pa.binary()),
        }
    )
    signed, refused = sign_images(images)
    if refused.num_rows:
        lines = [f"{r['key']} ({r['reason']}: {r['detail']})" for r in refused.to_pylist()]
        raise InputError(f"unusable query image: {'; '.join(lines)}")

    def make() -> dict[str, np.ndarray[Any, Any]]:
        features = plan.start()
        return {name: features.make(name, images) for name in ("rough", "cnn")}

    made = call_near_gpu(plan.encoders["cnn"].settings.backend, make, address)
    for name, column in (("rough", "rough"), ("cnn", "embedding")):
        signed = signed.append_column(column, embedding_column(made[name]))
    return signed


def choose_plan(
    config: Config, store: Store, calibration: Calibration, costs: StageCosts, batch: Batch
) -> tuple[Calibration, CascadePlan, pa.Table, dict[str, np.ndarray[Any, Any]]]:
    """Return the calibration within the metadata stage, the plan, and the queries' codes.

    The table is what other recalls would cost. It is empty where cascade.stages leave no choice,
    or run no CNN, for which the costs were measured.
    """
    wanted = config.cascade
    stages: dict[str, float | None] = {
        s.stage: s.keep for s in wanted.stages if s.stage not in ("metadata", "cnn")
    }
    share, whole = calibration.sample.num_rows / store.images(), calibration.sample.num_rows
    calibration = calibration.within(matching(calibration.sample, where(config)))
    left, asked = calibration.sample.num_rows / whole, len(batch.queries.ids)
    codes = {
        name: calibration.filters.query_codes(name, batch.features, wanted.neighbours)
        for name in stages
    }
    if calibration.sample.num_rows < LEAST_SAMPLE or not stages:
        nothing = Evidence({}, {}, costs, calibration.sample.num_rows)
        none = recall_costs(nothing, [], left, asked)
        return calibration, search_everything(nothing), none, codes
    evidence = calibration.evidence(
        tuple(stages), wanted.neighbours, config.search.k, share, codes, costs
    )
    plan, *plans = plans_by_recall(evidence, stages, (wanted.recall, *RECALLS), wanted.confidence)
    if wanted.seconds is not None:
        allowed = 1000 * wanted.seconds * config.ray.workers / store.images()
        plan = plan_within(evidence, stages, allowed, wanted.confidence)
    open_to_choice = None in stages.values() and "pca" not in stages
    others = recall_costs(evidence, plans if open_to_choice else [], left, asked)
    return calibration, plan, others, codes


def where(config: Config) -> tuple[tuple[str, str, Any], ...]:
    """Return the comparisons of the metadata stage, none where there is no such stage."""
    return tuple(c for stage in config.cascade.stages for c in stage.where)


def full_embeddings(config: Config, store: Store) -> Path | None:
    """Return where the finished store of all embeddings is; None without a pca stage.

    Raises StoreError where it is not finished, or its shards are not those of the signatures.
    """
    if all(stage.stage != "pca" for stage in config.cascade.stages):
        return None
    found = Store.open(config.embed.output.resolve(), "embeddings")
    found.manifest()
    manifests = [read_manifest(s) for s in (found, store)]
    if not manifests[0].equals(manifests[1]):
        raise StoreError(
            f"{found.root} and {store.root} do not hold the same shards of the same source; make "
            "both with the same source and source.shard_rows, or leave out the pca stage"
        )
    return found.root


def search_stages(
    config: Config,
    store: Store,
    embeddings: Path | None,
    on_demand: OnDemandPlan,
    calibration: Calibration,
    plan: CascadePlan,
    codes: dict[str, np.ndarray[Any, Any]],
    batch: Batch,
    record: RunRecord,
) -> tuple[Merged, Funnel]:
    """Return the certified top k + 1 of every query among its candidates, and the funnel."""
    limits = {
        stage: thresholds(codes[stage], calibration.filters.codes(stage, calibration.sample), keep)
        for stage, keep in zip(plan.stages, plan.keep, strict=True)
    }
    vectors = batch.queries.vectors
    funnel = Funnel.empty(plan.stages, len(vectors))
    shards = [entry.shard for entry in store.manifest()]
    on_gpu = on_demand.encoders["cnn"].settings.backend == "cuda"
    gpus = gpu_share(config.ray.workers) if on_gpu else 0.0
    asked: set[int] = set()

    def ask(rows: np.ndarray[Any, Any], depth: int) -> Iterator[ShardTopK]:
        searched = CascadeSearchPlan(
            store.root,
            embeddings,
            on_demand,
            calibration.filters,
            where(config),
            plan.stages,
            {stage: codes[stage][rows] for stage in plan.stages},
            {stage: limits[stage][rows] for stage in plan.stages},
            vectors[rows],
            depth,
        )
        first = not asked
        asked.add(depth)
        results = map_shards(searched, shards, config.ray.workers, gpus)
        with record.pool() as stats:
            for table in track(results, f"cascade, {len(rows)} queries", record.images, "img"):
                stats.append(table)
                funnel.add(table, rows, first)
                with record.stage("merge on the driver, meanwhile"):
                    yield read_part(table)

    return search_certified(ask, len(vectors), config.search.k + 1), funnel


def _write(
    config: Config, store: Store, run: CascadeRun, recall: list[CopyRecall], output: Path
) -> None:
    queries = run.batch.queries
    results = result_table(store, queries, run.ids, run.scores)
    overall = run.funnel.overall(run.plan.recalls)
    tables = {
        "results": results,
        "recall": recall_table(recall),
        "funnel": overall,
        "funnel_by_query": run.funnel.by_query(queries.keys),
        "recall_costs": run.costs,
    }
    for name, table in tables.items():
        write_atomically(output / f"{name}.parquet", parquet_bytes(table))
    page = render_cascade(store.images(), run.plan, promise(config, run.plan), run.funnel, queries)
    write_atomically(output / "funnel.html", page.encode())


def promise(config: Config, plan: CascadePlan) -> str:
    """Return what may be said of the recall, in a sentence."""
    wanted = config.cascade
    who = CALLED[wanted.neighbours]
    if not plan.stages:
        return (
            f"no cascade is proved to reach recall {wanted.recall} of {who} for less than the CNN "
            "on all: every image was compared"
        )
    return (
        f"recall of {who} against brute force: at least {plan.bound:.3f} with confidence "
        f"{wanted.confidence} ({plan.recall:.3f} of {plan.tested} calibration neighbours)"
    )


def _print(
    config: Config, run: CascadeRun, recall: list[CopyRecall], costs: StageCosts, output: Path
) -> None:
    overall = run.funnel.overall(run.plan.recalls)
    print_table("funnel, all queries together", overall.column_names, _rows(overall))
    keys = run.batch.queries.keys[:SHOWN]
    few = run.funnel.by_query(run.batch.queries.keys).slice(0, len(keys) * len(run.funnel.kept))
    print_table(f"funnel of the first {len(keys)} queries", few.column_names, _rows(few))
    made = run.funnel.made
    console.print(
        f"new CNN features: {made['cnn']:,} whole, {made['rough']:,} rough; kept for later"
    )
    if recall:
        header = ("copies by", "found", "known", f"recall@{recall[0].k}", "95 % low", "high")
        lines = [(r.transform, r.found, r.known, r.recall, *r.interval()) for r in recall]
        print_table("known copies", header, lines)
    console.print(promise(config, run.plan))
    if run.plan.stages:
        batches = costs.milliseconds["cnn"] / run.plan.milliseconds
        console.print(
            f"embedding everything once would cost as much as {batches:,.0f} such batches of "
            f"{len(run.ids)} (calculated from the calibration, what is kept not counted)"
        )
    console.print(f"results: {output}/results.parquet, page: {output}/funnel.html")


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [["" if v is None else v for v in column.to_pylist()] for column in table.columns]
    return list(zip(*columns, strict=True))
