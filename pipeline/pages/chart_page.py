"""A self-contained page of charts in the style of the report."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pipeline.pages.page import chart_layout, render_page

HEIGHT = 460


def render_charts(title: str, charts: Sequence[go.Figure], notes: Sequence[str]) -> str:
    """Return the page: ``title``, ``charts`` and lines of text; it loads nothing."""
    for chart in charts:
        _lay_out(chart)
    return render_page("charts.html.j2", charts, title=title, notes=notes)


def _lay_out(chart: go.Figure) -> None:
    look = chart_layout("", HEIGHT)
    # A chart has a title of its own or none, and several axes or one.
    axis = {"gridcolor": look.pop("xaxis")["gridcolor"], "automargin": True}
    del look["title"], look["yaxis"]
    look |= {"margin": look["margin"] | {"t": 40}, "legend": {"orientation": "h", "y": -0.2}}
    chart.update_layout(**look)
    chart.update_xaxes(**axis)
    chart.update_yaxes(**axis)
