"""The scaling lab as one HTML page: curves, laws, merge cost, and sliders. It loads nothing."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute
from markupsafe import Markup

from pipeline.core.forecast import PoolCosts
from pipeline.lab.page_data import LabData, missing, plans_by_recall
from pipeline.lab.scaling.laws import LAWS, fit_law
from pipeline.lab.scaling.summary import part
from pipeline.pages.growth import Growth
from pipeline.pages.growth import growth_chart as measured_chart
from pipeline.pages.page import BAR, INK, chart_layout, render_page

COLOURS = ("#2f7dd1", "#d1742f", "#2fa36b", "#a05fd1")
GROWTH_HEIGHT = 560  # pixels: on a phone the legend takes a line for each way
POINTS = np.unique(np.geomspace(1, 1000, 60).round()).astype(np.float64)


def render_lab(data: LabData) -> str:
    """Return the page; its sliders recompute from the fitted numbers inside it."""
    charts = [extrapolated_growth_chart(data.pool)]
    charts += [measured_growth_chart(data.growth)] if data.growth else []
    charts += [speedup_chart(data.runs), efficiency_chart(data.runs)]
    charts += [merge_chart(data.merge)] if data.merge is not None else []
    charts += [funnel_chart(data.funnel)] if data.funnel is not None else []
    model = asdict(data.pool) | {"straggler": float(np.mean(data.pool.stragglers))}
    del model["stragglers"]
    costs = data.recall_costs.to_pylist() if data.recall_costs is not None else []
    return render_page(
        "lab.html.j2",
        charts,
        laws=data.laws.to_pylist(),
        model=Markup(json.dumps(model)),
        plans=plans_by_recall(costs),
        queries=costs[0]["queries"] if costs else 0,
        recall=data.recall,
        missing=missing(data),
    )


def funnel_chart(funnel: pa.Table) -> go.Figure:
    """Draw the images into and out of each stage, on a log axis: measured."""
    stages = funnel["stage"].to_pylist()
    figure = go.Figure(layout=_layout("Into and out of each stage, measured"))
    for colour, column, name in ((INK, "into", "into"), (BAR, "out_of", "out of")):
        images = funnel[column].to_pylist()
        figure.add_bar(
            x=images,
            y=stages,
            orientation="h",
            name=name,
            text=[f"{count:,}" for count in images],
            marker_color=colour,
        )
    figure.update_xaxes(type="log", title="images, for any query of the last run")
    return figure.update_yaxes(autorange="reversed")


def measured_growth_chart(growth: Growth) -> go.Figure:
    """Draw the measured seconds over vectors with each way's fitted exponent."""
    figure = measured_chart(growth.points, growth.exponents)
    return figure.update_layout(**_layout("Measured growth and fitted exponents", GROWTH_HEIGHT))


def extrapolated_growth_chart(costs: PoolCosts) -> go.Figure:
    """Draw seconds against images for some worker counts, by the fitted model: extrapolated."""
    images = np.geomspace(1e3, 1e9, 40)
    figure = go.Figure(layout=_layout("Growth at 50 ms, extrapolated", GROWTH_HEIGHT))
    for colour, workers in zip(COLOURS, (1, 10, 100, 1000), strict=True):
        work = images * 0.05 / np.minimum(workers, np.maximum(images, 1))
        seconds = costs.start_up + work + costs.drain
        figure.add_scatter(x=images, y=seconds, name=f"{workers} workers", line_color=colour)
    figure.update_xaxes(type="log", title="images")
    return figure.update_yaxes(type="log", title="seconds")


def speedup_chart(runs: pa.Table) -> go.Figure:
    """Draw whole-run rates of strong scaling, emulated, with the laws and their 95 % bands."""
    mine = part(runs, "emulated", "strong")
    workers, rates = mine["workers"].to_numpy(), mine["whole_rate"].to_numpy()
    one = float(np.median(rates[workers == workers.min()])) / workers.min()
    figure = go.Figure(layout=_layout("Speed-up, emulated, and laws"))
    points = POINTS[workers.max() * 4 >= POINTS]
    for colour, law in zip(COLOURS, LAWS, strict=True):
        fit = fit_law(law, workers, rates, draws=100)
        low, high = fit.band(points)
        figure.add_scatter(x=points, y=fit.predict(points) / one, name=law, line_color=colour)
        band = np.concatenate([high, low[::-1]]) / one
        around = np.concatenate([points, points[::-1]])
        figure.add_scatter(
            x=around,
            y=band,
            fill="toself",
            line_width=0,
            fillcolor=colour,
            opacity=0.15,
            showlegend=False,
            hoverinfo="skip",
            mode="lines",
        )
    figure.add_scatter(x=workers, y=rates / one, name="runs", mode="markers", marker_color=INK)
    figure.update_xaxes(type="log", title="workers")
    return figure.update_yaxes(type="log", title="times one worker")


def efficiency_chart(runs: pa.Table) -> go.Figure:
    """Draw the steady state's efficiency by workers: each run, and each mode's median."""
    figure = go.Figure(layout=_layout("Steady-state efficiency, emulated"))
    for colour, mode in zip(COLOURS, ("strong", "weak"), strict=False):
        mine = part(runs, "emulated", mode)
        workers, rates = mine["workers"].to_numpy(), mine["steady_rate"].to_numpy()
        least = workers.min()
        share = rates * least / (workers * np.median(rates[workers == least]))
        counts = np.unique(workers)
        middle = [np.median(share[workers == count]) for count in counts]
        figure.add_scatter(x=counts, y=middle, name=mode, line_color=colour)
        figure.add_scatter(
            x=workers, y=share, mode="markers", marker_color=colour, name=f"{mode}, each run"
        )
    figure.update_xaxes(type="log", title="workers")
    return figure.update_yaxes(title="efficiency", rangemode="tozero")


def merge_chart(merge: pa.Table) -> go.Figure:
    """Draw the measured seconds of merging and of searching against shards, most queries."""
    most = pa.compute.max(merge["queries"]).as_py()
    mine = merge.filter(pa.compute.equal(merge["queries"], most))
    mine = mine.filter(pa.compute.equal(mine["k"], pa.compute.min(mine["k"])))
    figure = go.Figure(layout=_layout(f"The merge, {most} queries, measured"))
    for colour, name in zip(COLOURS, ("certified", "faiss_heap", "tree", "search"), strict=True):
        figure.add_scatter(
            x=mine["shards"].to_pylist(), y=mine[name].to_pylist(), name=name, line_color=colour
        )
    figure.update_xaxes(type="log", title="shards")
    return figure.update_yaxes(type="log", title="seconds")


def _layout(title: str, height: int = 420) -> dict[str, Any]:
    look = chart_layout(title, height)
    axis = look["xaxis"] | {"automargin": True}
    look |= {"title": {"text": title, "font": {"size": 15}}, "xaxis": axis, "yaxis": axis}
    return look | {"legend": {"orientation": "h", "y": -0.25}}
