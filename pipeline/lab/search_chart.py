"""A page with the curve of recall against time, one line a way of searching."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from pipeline.pages.chart_page import render_charts

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
