"""`sluice cascade`: the most similar images of each query, with the CNN run on few."""

from collections.abc import Mapping

import pyarrow as pa

from jobs.config import Config, SearchConfig
from jobs.console import (
    SHOWN,
    console,
    print_arrow,
    print_by_category,
    print_recall,
    print_results,
    warn,
    warn_of_refused,
)
from jobs.sitting import Sitting, print_more_workers
from pipeline.cascade.answer import CascadeAnswer, answer_queries, answer_tables
from pipeline.cascade.calibration_store import STALE, StoredCalibration, stored_calibration
from pipeline.cascade.choice import Goal, choose_plan, full_embeddings, promise
from pipeline.cascade.drift import drift_since
from pipeline.cascade.on_demand import OnDemandPlan, on_demand_plan
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.queries import gather_batch
from pipeline.cascade.saving import saving
from pipeline.cascade.stages import LAST
from pipeline.cascade.stages.metadata import matching
from pipeline.core.errors import InputError
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.paths import refuse_unwritable
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import stored_source
from pipeline.images.source import Source
from pipeline.pages.cascade import CascadeData, render_cascade
from pipeline.pages.report import QueryResult, shown_results
from pipeline.search.answers import known_copies
from pipeline.search.passing import condition_of

PICTURED = 12  # queries on the page, and results of each


def command(config: Config) -> None:
    """Find the images most similar to QUERIES with the CNN run on few.

    sluice sign and sluice calibrate come first; what the CNN makes is kept for further queries.
    """
    cascade(config)


def cascade(config: Config) -> CascadeAnswer:
    """Run the job: plan, search every shard through the stages, merge, write results and page."""
    asked, output = config.search, config.cascade.output.resolve()
    asked.refuse_no_queries()
    refuse_unwritable(output)
    store = Store.open(config.sign.output.resolve(), "signatures")
    goal = _goal(config, store)
    embeddings = None
    if goal.needs_embeddings:
        embeddings = full_embeddings(config.embed.output.resolve(), store)
    stored, made = _calibrated(config, store)
    with (
        Store.open(made.cache, "features").lock(),
        Sitting("cascade", store.images(), config.ray, output, on_gpu=made.on_gpu) as sitting,
    ):
        answer = _answer(asked, goal, store, embeddings, stored, made, sitting)
        with sitting.stage("write"):
            recall = known_copies(store, answer.queries, answer.ids, answer.scores, goal.condition)
            drift = drift_since(store, stored.calibration.sample, stored.shards)
            promised = promise(goal, answer.choice, answer.queries.keys, drift)
            tables = answer_tables(store, answer, recall, asked.min_score)
            told = {"loss": promised, "store": store.kind}
            tables["results"] = tables["results"].replace_schema_metadata(told)
            costs = tables["recall_costs"]
            tables["recall_costs"] = costs.replace_schema_metadata({"neighbours": goal.neighbours})
            data = _page_data(store, answer, goal, stored.costs, promised)
            _write(data, tables, made.source, store, output)
    print_results(tables["results"], len(answer.ids), store.images())
    _print_funnel(answer, data)
    console.print(data.saved)
    if silent := tables["quarantine"].num_rows:
        console.print(f"{silent:,} images met have no embedding, and are in quarantine.parquet")
    print_recall(recall)
    print_by_category(answer.choice.by_category, goal.confidence)
    console.print(promised)
    _print_break_even(answer, stored.costs)
    console.print(f"results: {output}/results.parquet, page: {output}/funnel.html")
    print_more_workers(sitting.record)
    return answer


def _goal(config: Config, store: Store) -> Goal:
    """Return what is asked; what ``store``'s columns cannot answer is refused here."""
    where, asked = config.search.where, config.search
    condition = condition_of(where, store) if where is not None else None
    goal = Goal(**config.cascade.goal(), k=asked.k, workers=config.ray.workers, condition=condition)
    matching(store.schema().empty_table(), goal.where)
    return goal


def _calibrated(config: Config, store: Store) -> tuple[StoredCalibration, OnDemandPlan]:
    cnn = encoder_settings(**config.embed.encoder())
    stored = stored_calibration(store, cnn)
    if not stored.current:
        warn(STALE)
    source = stored_source(store, config.source.given())
    return stored, on_demand_plan(source, store, config.cascade.features.resolve(), cnn)


def _answer(
    asked: SearchConfig,
    goal: Goal,
    store: Store,
    embeddings: Place | None,
    stored: StoredCalibration,
    made: OnDemandPlan,
    sitting: Sitting,
) -> CascadeAnswer:
    batch = gather_batch(
        store, made, asked.queries, asked.sample_queries, sitting.spreading, sitting.near_gpu
    )
    warn_of_refused(batch.queries.refused)
    with sitting.stage("plan"):
        choice = choose_plan(stored.calibration, stored.costs, goal, batch, store.images())
    return answer_queries(
        sitting.spread, store, embeddings, made, goal, batch.queries, choice, sitting.record
    )


def _page_data(
    store: Store, answer: CascadeAnswer, goal: Goal, costs: StageCosts, promised: str
) -> CascadeData:
    funnel, images = answer.funnel, store.images()
    return CascadeData(
        images,
        answer.queries.keys,
        answer.plan,
        funnel,
        funnel.overall(answer.choice.planned, answer.plan.recalls),
        answer.choice.by_category,
        promised,
        saving(images, funnel, goal.needs_embeddings, costs.milliseconds[LAST]),
    )


def _write(
    data: CascadeData,
    tables: Mapping[str, pa.Table],
    source: Source,
    store: Store,
    output: Place,
) -> None:
    for name, table in tables.items():
        write_atomically(output / f"{name}.parquet", parquet_bytes(table))
    page = render_cascade(data, _pictured(source, store, tables["results"]))
    write_atomically(output / "funnel.html", page.encode())


def _pictured(source: Source, store: Store, results: pa.Table) -> list[QueryResult]:
    """Return the first results with their pictures, none where an image is there no more."""
    best = results.filter(pa.compute.less_equal(results["rank"], PICTURED))
    try:
        return shown_results(source, store, best, PICTURED)
    except InputError as error:
        warn(f"the page has no pictures: {error}")
        return []


def _print_funnel(answer: CascadeAnswer, data: CascadeData) -> None:
    funnel, keys = answer.funnel, answer.queries.keys
    shown = min(SHOWN, len(keys))
    first = funnel.by_query(keys).slice(0, shown * len(funnel.kept))
    print_arrow("funnel, all queries together", data.rows)
    print_arrow(f"funnel of the first {shown} queries", first)
    made = ", ".join(f"{count:,} {stage}" for stage, count in funnel.made.items())
    console.print(f"new features: {made}; kept for later")


def _print_break_even(answer: CascadeAnswer, costs: StageCosts) -> None:
    if answer.plan.stages and not answer.choice.compared.any():
        batches = costs.milliseconds[LAST] / answer.plan.milliseconds
        console.print(
            f"embedding everything once would cost as much as {batches:,.0f} such batches of "
            f"{len(answer.ids)} (calculated from the calibration, what is kept not counted)"
        )
