"""One self-contained HTML page over a search: pictures, times, recall. It loads nothing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.images.pictures import Picture, query_picture, read_pictures
from pipeline.images.source import Source
from pipeline.pages.growth import CACHES, Growth, growth_chart
from pipeline.pages.page import BAR, INK, chart_layout, render_page
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.queries import find_images


@dataclass(frozen=True)
class Hit:
    """One result of a query. ``copy`` names the transform where it is a known copy."""

    picture: Picture
    rank: int
    score: float
    copy: str | None


@dataclass(frozen=True)
class QueryResult:
    """A query beside its results, best first."""

    query: Picture
    hits: tuple[Hit, ...]

    @property
    def has_copy(self) -> bool:
        return any(hit.copy for hit in self.hits)


@dataclass(frozen=True)
class StageTime:
    """Wall seconds of one stage of one job."""

    job: str
    stage: str
    seconds: float


@dataclass(frozen=True)
class ReportData:
    """All the page shows; every figure in it was measured by the jobs that wrote the stores."""

    title: str
    facts: Sequence[tuple[str, str]]
    results: Sequence[QueryResult]
    stages: Sequence[StageTime]
    recall: Sequence[CopyRecall]
    quarantine: Sequence[tuple[str, int]]  # reason, images
    growth: Growth | None = None
    told: str = ""  # what the search may have lost


def query_results(
    rows: Sequence[Mapping[str, Any]],
    pictures: Mapping[int, Picture],
    origin: Mapping[int, tuple[int, str]],
) -> list[QueryResult]:
    """Return the queries of ``rows`` of a search's results, each with its hits, in their order.

    pictures: by id; origin: (scene, transform) by id, as ``copy_origin`` gives them.
    """
    found: dict[str, tuple[Picture, list[Hit]]] = {}
    for row in rows:
        query, number = row["query_id"], row["id"]
        if row["query"] not in found:
            mine = query_picture(row["query"]) if query is None else pictures[query]
            found[row["query"]] = (mine, [])
        copy = query in origin and origin[query][0] == origin[number][0]
        hit = Hit(pictures[number], row["rank"], row["score"], origin[number][1] if copy else None)
        found[row["query"]][1].append(hit)
    return [QueryResult(query, tuple(hits)) for query, hits in found.values()]


def shown_results(source: Source, store: Store, results: pa.Table, most: int) -> list[QueryResult]:
    """Return the first ``most`` queries of ``results`` with their pictures from ``source``."""
    shown = results["query"].unique()[:most]
    chosen = results.filter(pa.compute.is_in(results["query"], value_set=shown)).to_pylist()
    ids = {row[name] for row in chosen for name in ("id", "query_id")} - {None}
    pictures = read_pictures(source, store, ids)
    return query_results(chosen, pictures, copy_origin(store, list(pictures)))


def copy_origin(store: Store, ids: list[int]) -> dict[int, tuple[int, str]]:
    """Return (scene, transform) by id; empty where the store does not know its scenes."""
    if not {"scene", "transform"} <= set(store.columns()):
        return {}
    rows = find_images(store, ids, ["id", "scene", "transform"]).to_pylist()
    return {row["id"]: (row["scene"], row["transform"]) for row in rows}


def stage_times(runs: Iterable[RunRecord]) -> list[StageTime]:
    """Return the seconds of each job's stages, over all of its sittings in ``runs``."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for run in runs:
        for name, value in run.seconds.items():
            sums[run.job, name] += value
    return [StageTime(job, name, value) for (job, name), value in sums.items()]


def render_report(data: ReportData) -> str:
    """Return the page; texts are escaped, scripts and pictures are inside it."""
    charts = [stage_chart(data.stages)] if data.stages else []
    charts += [recall_chart(data.recall)] if data.recall else []
    charts += [measured_growth_chart(data.growth)] if data.growth else []
    return render_page("report.html.j2", charts, data=data, caches=CACHES)


def measured_growth_chart(growth: Growth) -> go.Figure:
    """Draw the measured seconds of each way of searching over the number of vectors."""
    figure = growth_chart(growth.points, growth.exponents)
    look = chart_layout("Growth of searching, measured", 560)
    axis = look["xaxis"] | {"automargin": True}
    legend = {"orientation": "h", "y": -0.2}
    return figure.update_layout(look | {"xaxis": axis, "yaxis": axis, "legend": legend})


def stage_chart(stages: Sequence[StageTime]) -> go.Figure:
    """Draw the seconds of each stage, the first at the top."""
    names = [f"{stage.job}: {stage.stage}" for stage in stages]
    seconds = [stage.seconds for stage in stages]
    texts = [f"{value:,.2f} s" for value in seconds]
    bars = go.Bar(x=seconds, y=names, orientation="h", text=texts, marker_color=BAR)
    figure = go.Figure(bars, chart_layout("Time by stage", 120 + 34 * len(stages)))
    figure.update_xaxes(title="wall time, seconds")
    return figure.update_yaxes(autorange="reversed", automargin=True)


def recall_chart(recall: Sequence[CopyRecall]) -> go.Figure:
    """Draw the recall of known copies by transform, with its 95 % Clopper-Pearson interval."""
    values = [row.recall for row in recall]
    bounds = [row.interval() for row in recall]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, bounds, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, bounds, strict=True)],
        "color": INK,
    }
    names = [row.transform for row in recall]
    texts = [f"{row.recall:.3f}" for row in recall]
    bars = go.Bar(
        x=names,
        y=values,
        error_y=error,
        text=texts,
        textposition="inside",
        insidetextanchor="start",
        marker_color=BAR,
    )
    figure = go.Figure(bars, chart_layout(f"Recall@{recall[0].k} of known copies", 380))
    figure.update_xaxes(title="how the copy was made", automargin=True)
    return figure.update_yaxes(title="found / known, with 95 % interval", range=[0, 1.05])
