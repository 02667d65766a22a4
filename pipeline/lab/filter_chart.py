"""A page of curves: recall against the share kept, for every cheap filter."""

from collections.abc import Mapping

import plotly.graph_objects as go
import pyarrow as pa

from pipeline.cascade.calibration import CALLED, Neighbours
from pipeline.pages.chart_page import render_charts
from pipeline.pages.page import chart_layout


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
