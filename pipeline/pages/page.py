"""What all pages share: templates, and charts that read on light and on dark. They load nothing."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.io import to_html
from plotly.offline import get_plotlyjs

HEIGHT = 460

INK, BAR = "#7a8599", "#1f6fc4"  # both are seen on light and on dark; texts are the style sheet's
TEMPLATES = Environment(loader=PackageLoader("pipeline.pages"), autoescape=True, trim_blocks=True)
TEMPLATES.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
TEMPLATES.filters["share"] = lambda part: f"{100 * part:.3g} %"


def render_page(template: str, charts: Sequence[go.Figure], **values: Any) -> str:
    """Return ``template`` with ``charts`` (their ids chart-0, ...), plotly.js and ``values``."""
    pieces = [Markup(_chart_html(chart, number)) for number, chart in enumerate(charts)]
    page = TEMPLATES.get_template(template)
    return page.render(charts=pieces, plotly=Markup(get_plotlyjs()), **values)


def _chart_html(chart: go.Figure, number: int) -> str:
    # The bar of buttons would lie over the title: dragging zooms, a double click zooms out.
    name, options = f"chart-{number}", {"displayModeBar": False, "responsive": True}
    return str(to_html(chart, include_plotlyjs=False, full_html=False, div_id=name, config=options))


def chart_layout(title: str, height: int) -> dict[str, Any]:
    """Return the look of all charts; height in pixels."""
    axis = {"gridcolor": "rgba(122,133,153,.3)", "zerolinecolor": INK}
    return {
        "title": title,
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "family": "system-ui, sans-serif"},
        "margin": {"l": 10, "r": 20, "t": 50, "b": 50},
        "xaxis": axis,
        "yaxis": axis,
    }


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
