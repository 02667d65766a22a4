"""`sluice report`: the results of a search as one page."""

from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config import Config
from jobs.console import console
from pipeline.core.errors import InputError
from pipeline.core.files import write_atomically
from pipeline.core.ids import NO_ID
from pipeline.core.run_record import read_runs
from pipeline.core.store import Store
from pipeline.images.manifest import read_manifest
from pipeline.images.pictures import Picture, thumbnail
from pipeline.images.reader import read_shard
from pipeline.images.source import open_source
from pipeline.pages.growth import read_growth
from pipeline.pages.report import Hit, QueryResult, ReportData, StageTime, render_report
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.queries import find_images


def command(config: Config) -> None:
    """Write one HTML page over the results of a search."""
    report(config)


def report(config: Config) -> None:
    """Run the job: read the results, fetch their pictures from the source, write the page."""
    store = Store.open(config.embed.output.resolve(), "embeddings")
    results = _read_results(config.search.output)
    shown = results["query"].unique()[: config.report.max_queries]
    chosen = results.filter(pa.compute.is_in(results["query"], value_set=shown)).to_pylist()
    pictures = read_pictures(config, store, {row[n] for row in chosen for n in ("id", "query_id")})
    origin = _copy_origin(store, list(pictures))
    data = ReportData(
        title="Sluice: similar photos",
        facts=_facts(config, store, results),
        results=_query_results(chosen, pictures, origin),
        stages=_stages([config.corpus.output, config.embed.output, config.search.output]),
        recall=[
            CopyRecall(**row)
            for row in pq.read_table(config.search.output / "recall.parquet").to_pylist()
        ],
        quarantine=_quarantine(store),
        growth=read_growth(config.report.growth),
    )
    page = render_report(data).encode()
    write_atomically(config.report.output.resolve(), page)
    console.print(
        f"report: {config.report.output} ({len(page):,} bytes, {len(data.results)} queries)"
    )


def _read_results(folder: Path) -> pa.Table:
    path = folder / "results.parquet"
    try:
        results = pq.read_table(path)
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; run sluice search first") from error
    if b"loss" not in (results.schema.metadata or {}):
        raise InputError(f"{path} does not say what its search lost; run sluice search again")
    return results


def read_pictures(config: Config, store: Store, ids: set[int]) -> dict[int, Picture]:
    """Read the images of ``ids`` from the shards of the source that hold them."""
    source = open_source(config.source.url, config.source.kind)
    manifest = read_manifest(store)
    wanted = pa.array(sorted(ids - {NO_ID}), pa.int64())
    pictures = {}
    for entry in store.manifest():
        if not pa.compute.any(
            pa.compute.is_in(store.read(entry.shard, ["id"])["id"], value_set=wanted)
        ).as_py():
            continue
        images = read_shard(source, manifest, entry.shard)
        for row in images.filter(pa.compute.is_in(images["id"], value_set=wanted)).to_pylist():
            if row["bytes"] is None:
                raise InputError(f"{row['key']} has changed since it was embedded; embed it anew")
            pictures[row["id"]] = Picture(row["id"], row["key"], thumbnail(row["bytes"]))
    return pictures


def _copy_origin(store: Store, ids: list[int]) -> dict[int, tuple[int, str]]:
    """Return (scene, transform) by id; empty where the store does not know its scenes."""
    if not {"scene", "transform"} <= set(store.columns()):
        return {}
    rows = find_images(store, ids, ["id", "scene", "transform"]).to_pylist()
    return {row["id"]: (row["scene"], row["transform"]) for row in rows}


def _query_results(
    rows: list[dict[str, Any]],
    pictures: dict[int, Picture],
    origin: dict[int, tuple[int, str]],
) -> list[QueryResult]:
    found: dict[str, tuple[Picture, list[Hit]]] = {}
    for row in rows:
        query, number = row["query_id"], row["id"]
        if row["query"] not in found:
            found[row["query"]] = (_query_picture(row, pictures), [])
        copy = query in origin and origin[query][0] == origin[number][0]
        hit = Hit(pictures[number], row["rank"], row["score"], origin[number][1] if copy else None)
        found[row["query"]][1].append(hit)
    return [QueryResult(query, tuple(hits)) for query, hits in found.values()]


def _query_picture(row: dict[str, Any], pictures: dict[int, Picture]) -> Picture:
    if row["query_id"] != NO_ID:
        return pictures[row["query_id"]]
    path = Path(row["query"])
    if not path.exists():
        raise InputError(f"the query image {path} is gone; put it back or search again")
    return Picture(NO_ID, path.name, thumbnail(path.read_bytes()))


def _facts(config: Config, store: Store, results: pa.Table) -> list[tuple[str, str]]:
    made = store.identity
    queries = len(results["query"].unique())
    return [
        ("images", f"{store.images():,}"),
        ("queries", f"{queries:,}"),
        ("shown here", f"{min(queries, config.report.max_queries)}"),
        ("model", f"{made['model']}, {made['input_size']} px"),
        ("backend", f"{made['backend']} {made['precision']}"),
        ("search", results.schema.metadata[b"loss"].decode()),
    ]


def _stages(folders: list[Path]) -> list[StageTime]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for run in chain.from_iterable(read_runs(folder) for folder in folders):
        for name, value in run.seconds.items():
            sums[run.job, name] += value
    return [StageTime(job, name, value) for (job, name), value in sums.items()]


def _quarantine(store: Store) -> list[tuple[str, int]]:
    refused = store.read_quarantine()
    if refused is None:
        return []
    counts = refused.group_by("reason").aggregate([("id", "count")]).sort_by("reason")
    return list(zip(counts["reason"].to_pylist(), counts["id_count"].to_pylist(), strict=True))
