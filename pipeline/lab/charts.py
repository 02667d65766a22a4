"""Charts of the lab: filters, the cascade's frontier, break-even, recall against time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from pipeline.cascade.neighbours import CALLED, Neighbours
from pipeline.lab.break_even import BreakEven
from pipeline.pages.page import BAR, INK, chart_layout, render_charts


def frontier_chart(frontier: pa.Table) -> go.Figure:
    """Draw the proved recall against the speed-up, a line a kind of neighbours."""
    figure = go.Figure(layout=chart_layout("Recall proved against speed-up", 440))
    for who in dict.fromkeys(frontier["neighbours"].to_pylist()):
        rows = frontier.filter(pa.compute.equal(frontier["neighbours"], who))
        speed, bound = rows["speed_up"].to_pylist(), rows["bound"].to_pylist()
        figure.add_scatter(x=speed, y=bound, mode="lines+markers", name=who)
    figure.update_xaxes(
        title="times cheaper than the CNN on all (calculated from measured stage costs)", type="log"
    )
    figure.update_yaxes(title="recall, lower bound", automargin=True)
    return figure.update_layout(legend={"orientation": "h", "y": -0.25})


def break_even_chart(even: BreakEven) -> go.Figure:
    """Draw the cumulative seconds of both ways, query by query."""
    queries = list(range(1, len(even.cascade) + 1))
    figure = go.Figure(layout=chart_layout("When embedding everything once is the better buy", 440))
    _line(figure, queries, np.cumsum(even.cascade).tolist(), "cascade, measured", BAR)
    brute = [even.embed + even.search * query for query in queries]
    _line(figure, queries, brute, "embed all, then search: measured once, times queries", INK)
    figure.update_xaxes(title="queries, one after the other")
    figure.update_yaxes(title="seconds while workers worked", automargin=True, rangemode="tozero")
    return figure.update_layout(legend={"orientation": "h", "y": -0.25})


def _line(figure: go.Figure, x: Sequence[int], y: Sequence[float], name: str, colour: str) -> None:
    figure.add_scatter(x=x, y=y, mode="lines+markers", name=name, line={"color": colour})


def filter_page(found: Mapping[Neighbours, pa.Table]) -> str:
    """Return a page with a chart for each kind of neighbours in ``found`` (filter_recall's)."""
    charts = [recall_curves(table, CALLED[who]) for who, table in found.items()]
    return render_charts("Sluice: what the cheap filters keep", charts, [])


def recall_curves(table: pa.Table, who: str) -> go.Figure:
    """Draw a line a filter with its 95 % interval, the share kept on a log axis."""
    figure = go.Figure(layout=chart_layout(f"Recall of {who}", 520))
    for name in dict.fromkeys(table["filter"].to_pylist()):
        rows = table.filter(pa.compute.equal(table["filter"], name))
        recall, low, high = (rows[c].to_numpy() for c in ("recall", "low", "high"))
        error = {"type": "data", "symmetric": False, "array": high - recall, "width": 2}
        error |= {"arrayminus": recall - low, "thickness": 1}
        dash = "dot" if name.startswith("hand-made") else "solid"
        figure.add_scatter(
            x=rows["keep"].to_numpy(), y=recall, error_y=error, name=name, line={"dash": dash}
        )
    figure.update_xaxes(title="share of the images kept", type="log", tickformat=".1%")
    figure.update_yaxes(title="share of neighbours kept", range=[0, 1.02], automargin=True)
    return figure.update_layout(legend={"orientation": "h", "y": -0.2})


COLOURS = ("#2f7dd1", "#c2571a", "#3a9d5d", "#8a5cc7")


def recall_time_page(curve: pa.Table, title: str) -> str:
    """Return a self-contained page over (way, probes, recall, ms of 1 query, ms of all)."""
    times = [name for name in curve.column_names if name.startswith("ms")]
    figure: Any = make_subplots(1, len(times), subplot_titles=times, shared_yaxes=True)
    ways = np.array(curve["way"].to_pylist())
    for colour, way in zip(COLOURS, dict.fromkeys(ways.tolist()), strict=False):
        mine = curve.filter(pa.array(ways == way))
        for column, name in enumerate(times, start=1):
            line = go.Scatter(
                x=mine[name].to_pylist(),
                y=mine["recall"].to_pylist(),
                text=[f"{count} probes" for count in mine["probes"].to_pylist()],
                name=way,
                mode="lines+markers",
                line_color=colour,
                showlegend=column == 1,
            )
            figure.add_trace(line, 1, column)
    figure.update_xaxes(type="log", title="measured ms")
    figure.update_yaxes(title="recall@10", col=1)
    return render_charts(title, [figure], ["Measured; the vectors are synthetic."])
