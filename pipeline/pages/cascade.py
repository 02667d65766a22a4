"""One self-contained HTML page over a cascade's funnel. It loads nothing."""

from typing import Any

import plotly.graph_objects as go

from pipeline.cascade.funnel import Funnel
from pipeline.cascade.planner import CascadePlan
from pipeline.cascade.stages import LAST
from pipeline.pages.page import BAR, chart_layout, render_page
from pipeline.search.queries import Queries

MOST_QUERIES = 40  # drawn one by one


def render_cascade(
    images: int, plan: CascadePlan, promise: str, funnel: Funnel, queries: Queries
) -> str:
    """Return the page over ``funnel``; ``promise`` is what may be said of its recall."""
    facts = [
        ("images", f"{images:,}"),
        ("queries", f"{len(queries.ids):,}"),
        *((f"kept by {s}", f"{f:.2%}") for s, f in zip(plan.stages, plan.fractions, strict=True)),
        ("new CNN embeddings", f"{funnel.made[LAST]:,}"),
    ]
    return render_page(
        "cascade.html.j2",
        [funnel_chart(images, funnel), query_chart(funnel, queries)],
        promise=promise,
        facts=facts,
        rows=funnel.overall(plan.recalls).to_pylist(),
    )


def funnel_chart(images: int, funnel: Funnel) -> go.Figure:
    """Draw the images left a query (mean) after each stage, on a log axis."""
    names = ["collection", *funnel.names[:-1]]
    left = [images, *funnel.kept.mean(axis=1).tolist()]
    bars = go.Bar(
        x=left,
        y=names,
        orientation="h",
        text=[f"{value:,.0f}" for value in left],
        marker_color=BAR,
    )
    layout = chart_layout(
        "Images left after each stage, mean of the queries", 120 + 44 * len(names)
    )
    figure = go.Figure(bars, layout)
    figure.update_xaxes(title="images", type="log")
    return figure.update_yaxes(autorange="reversed", automargin=True)


def query_chart(funnel: Funnel, queries: Queries) -> go.Figure:
    """Draw what each of the first queries kept, a line of points a stage."""
    shown = min(MOST_QUERIES, len(queries.ids))
    figure = go.Figure(layout=chart_layout(f"The first {shown} queries, one by one", 380))
    stages: list[tuple[str, Any]] = list(zip(funnel.names[:-1], funnel.kept, strict=True))
    for name, kept in stages:
        points = kept[:shown].tolist()
        figure.add_scatter(x=list(range(1, shown + 1)), y=points, mode="markers", name=name)
    figure.update_xaxes(title="query")
    figure.update_yaxes(title="images kept", type="log", automargin=True)
    return figure.update_layout(legend={"orientation": "h", "y": -0.25})
