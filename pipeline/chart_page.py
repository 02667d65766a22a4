"""A self-contained page of charts in the style of the report."""

from collections.abc import Sequence

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from pipeline.report_page import INK

HEIGHT = 460


def render_charts(title: str, charts: Sequence[go.Figure], notes: Sequence[str]) -> str:
    """Return the page: ``title``, ``charts`` and lines of text; it loads nothing."""
    templates = Environment(loader=PackageLoader("pipeline"), autoescape=True, trim_blocks=True)
    return templates.get_template("charts.html.j2").render(
        title=title,
        notes=notes,
        charts=[Markup(_html(chart, number)) for number, chart in enumerate(charts)],
        plotly=Markup(get_plotlyjs()),
    )


def _html(chart: go.Figure, number: int) -> str:
    chart.update_layout(
        height=HEIGHT,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "family": "system-ui, sans-serif"},
        margin={"l": 10, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "y": -0.2},
    )
    chart.update_xaxes(gridcolor="rgba(122,133,153,.3)", automargin=True)
    chart.update_yaxes(gridcolor="rgba(122,133,153,.3)", automargin=True)
    name, options = f"chart-{number}", {"displaylogo": False, "responsive": True}
    return str(to_html(chart, include_plotlyjs=False, full_html=False, div_id=name, config=options))
