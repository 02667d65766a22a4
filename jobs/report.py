"""`sluice report`: the results of a search or a cascade as one page."""

import pyarrow as pa

from jobs.config import Config
from jobs.console import console
from jobs.sitting import recorded_runs
from pipeline.core.errors import InputError
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.paths import refuse_special, refuse_unwritable
from pipeline.core.store import Store
from pipeline.core.tables import table_of
from pipeline.images.manifest import stored_source
from pipeline.pages.growth import read_growth
from pipeline.pages.report import (
    ReportData,
    render_report,
    shown_results,
    stage_times,
)
from pipeline.search.copy_recall import CopyRecall


def command(config: Config) -> None:
    """Write one HTML page over the results of a search or a cascade."""
    report(config)


def report(config: Config) -> None:
    """Run the job: read the results, fetch their pictures from the source, write the page."""
    refuse_special(config.report.output)
    refuse_unwritable(config.report.output.resolve().parent)
    folder = (config.report.results or config.search.output).resolve()
    results = _read_results(folder)
    store, made_by = _searched(config, results)
    source = stored_source(store, config.source.given())
    jobs = (config.corpus.output, *made_by, folder)
    data = ReportData(
        title="Sluice: similar photos",
        facts=_facts(config, store, results),
        results=shown_results(source, store, results, config.report.max_queries),
        stages=stage_times(run for job in jobs for run in recorded_runs(job)),
        recall=_recall(folder),
        quarantine=_quarantine(store),
        growth=read_growth(config.report.growth),
        told=results.schema.metadata[b"loss"].decode(),
    )
    page = render_report(data).encode()
    write_atomically(config.report.output.resolve(), page)
    console.print(
        f"report: {config.report.output} ({len(page):,} bytes, {len(data.results)} queries)"
    )


def _recall(folder: Place) -> list[CopyRecall]:
    table = table_of((folder / "recall.parquet").read_bytes())
    return [CopyRecall(**row) for row in table.to_pylist()]


def _read_results(folder: Place) -> pa.Table:
    path = folder / "results.parquet"
    try:
        results = table_of(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {path}; run sluice search first, or name what another search or a "
            "cascade has left by --results"
        ) from error
    if b"loss" not in (results.schema.metadata or {}):
        raise InputError(f"{path} does not say what its search lost; run the same search again")
    return results


def _searched(config: Config, results: pa.Table) -> tuple[Store, tuple[Place, ...]]:
    """Return the store that was searched, and the outputs of the jobs that made it."""
    if results.schema.metadata.get(b"store") == b"signatures":
        signatures = config.sign.output.resolve()
        return Store.open(signatures, "signatures"), (signatures,)
    embeddings = config.embed.output.resolve()
    return Store.open(embeddings, "embeddings"), (embeddings,)


def _facts(config: Config, store: Store, results: pa.Table) -> list[tuple[str, str]]:
    queries = len(results["query"].unique())
    return [
        ("images", f"{store.images():,}"),
        ("queries", f"{queries:,}"),
        ("shown here", f"{min(queries, config.report.max_queries)}"),
        *_model(store),
    ]


def _model(store: Store) -> list[tuple[str, str]]:
    made = store.identity
    if store.kind != "embeddings":  # signatures are of no CNN
        return []
    return [
        ("model", f"{made['model']}, {made['input_size']} px"),
        ("backend", f"{made['backend']} {made['precision']}"),
    ]


def _quarantine(store: Store) -> list[tuple[str, int]]:
    refused = store.read_quarantine()
    if refused is None:
        return []
    counts = refused.group_by("reason").aggregate([("id", "count")]).sort_by("reason")
    return list(zip(counts["reason"].to_pylist(), counts["id_count"].to_pylist(), strict=True))
