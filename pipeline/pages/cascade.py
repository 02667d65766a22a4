"""One self-contained HTML page over a cascade: its funnel, and what it found. It loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.funnel import Funnel
from pipeline.cascade.planner import CascadePlan
from pipeline.pages.page import TEMPLATES
from pipeline.pages.report import QueryResult

MOST_QUERIES = 40  # told one by one


@dataclass(frozen=True)
class CascadeData:
    """All the page shows; every figure in it comes from the job's output.

    promise: what may be said of the recall; saved: against brute force; rows: Funnel.overall's.
    """

    images: int
    keys: Sequence[str]  # of the queries
    plan: CascadePlan
    funnel: Funnel
    rows: pa.Table
    by_category: pa.Table  # as recall_by_category gives it
    promise: str
    saved: str


def render_cascade(data: CascadeData, results: Sequence[QueryResult]) -> str:
    """Return the page over ``data``, with the pictures of ``results``; texts are escaped."""
    plan = data.plan
    facts = [
        ("images", f"{data.images:,}"),
        ("queries", f"{len(data.keys):,}"),
        *((f"threshold of {s}", f"best {f:.2%} of the sample") for s, f in _kept(plan)),
    ]
    return TEMPLATES.get_template("cascade.html.j2").render(
        data=data, facts=facts, rows=_rows(data), results=results, by_query=_by_query(data)
    )


def _kept(plan: CascadePlan) -> list[tuple[str, float]]:
    return list(zip(plan.stages, plan.fractions, strict=True))


def _rows(data: CascadeData) -> list[dict[str, Any]]:
    """Return the funnel's rows, each with the least, median and most images left a query."""
    left = np.quantile(data.funnel.kept, (0, 0.5, 1), axis=1, method="nearest").T.tolist()
    return [
        row | {"left": few} for row, few in zip(data.rows.to_pylist(), [*left, None], strict=True)
    ]


def _by_query(data: CascadeData) -> list[tuple[str, list[int]]]:
    kept = data.funnel.kept[:, :MOST_QUERIES].T.tolist()
    return list(zip(data.keys, kept, strict=False))
