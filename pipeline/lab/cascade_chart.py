"""The curves of the cascade's benchmark: recall against speed-up, and the break-even."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from pipeline.lab.break_even import BreakEven
from pipeline.pages.page import BAR, INK, chart_layout


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
