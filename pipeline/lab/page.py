"""The scaling lab as one HTML page: where more workers stop helping. It loads nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from pipeline.core.forecast import WORDS
from pipeline.core.origin import VERSION
from pipeline.lab.claims import figure
from pipeline.lab.page_charts import PARTS, SERIES, all_specs
from pipeline.lab.page_data import CASCADE, CLAIMS, GROWTH, MERGE, NEAREST, SCALE, LabData
from pipeline.lab.page_tables import (
    PER,
    efficiency_rows,
    forecast_grid,
    growth_rows,
    law_rows,
    merge_rows,
    nearest_rows,
    plans_by_recall,
)
from pipeline.pages.growth import CACHES, Exponent, Growth
from pipeline.pages.page import TEMPLATES
from pipeline.pages.vega import vega_script

VERDICTS = {"holds": "good", "its sums are off": "off", "not so here": "bad"}


def render_lab(data: LabData) -> str:
    """Return the page; what its sliders show is read from tables within it."""
    tables = script_tables(data)
    sections = _claims(data) | _efficiency(tables) | _nearest(data.nearest)
    return TEMPLATES.get_template("lab.html.j2").render(
        figure=figure,
        data=data,
        parts=PARTS,
        words=WORDS,
        ways=growth_ways(data.growth),
        plans=tables["plans"],
        has_tree=any(row["tree"] for row in tables["merges"]),
        caches=CACHES,
        missing=missing(data),
        today=datetime.now(UTC).date().isoformat(),
        version=VERSION,
        vega=vega_script(),
        json=script_json(tables),
        **sections,
    )


def script_tables(data: LabData) -> dict[str, Any]:
    """Return all that the page's script reads: specs, rows, and the forecast as a table."""
    job, (law, around) = data.job, law_rows(data.runs, data.laws, data.measured.workload)
    rows = growth_rows(data.growth) | nearest_rows(data.nearest)
    rows |= {"runs": efficiency_rows(data.runs), "law": around}
    costs = data.recall_costs.to_pylist() if data.recall_costs else []
    return {
        "job": {"images": job.images, "ms": job.ms, "workers": job.workers},
        "words": {name: WORDS.get(name, data.work) for name in PARTS},
        "grid": forecast_grid(data.measured.costs, data.work, job.images, job.ms, job.shards),
        "specs": all_specs({way.name: way.colour for way in growth_ways(data.growth)}),
        "rows": rows,
        "law": law,
        "merges": merge_rows(data.merge),
        "plans": plans_by_recall(costs),
        "recall": data.recall,
    }


def _claims(data: LabData) -> dict[str, Any]:
    rows = data.claims.to_pylist() if data.claims else []
    ways = list(dict.fromkeys(way for row in rows for way in _ways(row)))
    return {"claims": claim_groups(rows, ways), "claim_ways": ways, "verdicts": VERDICTS}


def _efficiency(tables: dict[str, Any]) -> dict[str, Any]:
    runs, law = tables["rows"]["runs"], tables["rows"]["law"]
    names = _names_by_kind(runs)
    banded = any("low" in row for row in law)
    return {"law": tables["law"], "banded": banded, "run_names": names, "run_kinds": list(names)}


def _nearest(nearest: pa.Table | None) -> dict[str, Any]:
    return {"nearest_told": nearest_told(nearest), "nearest_points": _points(nearest)}


def _names_by_kind(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the workloads of each kind of runs, in words."""
    kinds: dict[str, dict[str, None]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], {})[row["workload"]] = None
    return {kind: ", ".join(names) for kind, names in kinds.items()}


def nearest_told(nearest: pa.Table | None) -> str:
    """Return what more workers do to one query, in a sentence."""
    rows = sorted(nearest.to_pylist(), key=lambda row: row["workers"]) if nearest else []
    if len(rows) < 2 or rows[0]["workers"]:
        return ""
    ms = [row["latency"] for row in rows[1:]]
    return (
        f"Without Ray one thread answers in {rows[0]['latency']:.3g} ms; {rows[1]['workers']} to "
        f"{rows[-1]['workers']} workers take {min(ms):.3g} to {max(ms):.3g} ms: what is waited for "
        "is scheduling, and more workers do not shorten that."
    )


def _points(nearest: pa.Table | None) -> int | None:
    return nearest["points"][0].as_py() if nearest and "points" in nearest.schema.names else None


def script_json(value: Any) -> Markup:
    """Return JSON that may stand in a script element: it ends at the first "</script"."""
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))


@dataclass(frozen=True)
class Way:
    """A way of searching as the growth's charts draw it."""

    name: str
    per: str  # what one answer is for
    colour: str
    exponent: str  # with its interval


def growth_ways(growth: Growth | None) -> list[Way]:
    """Return what growth measured, those for all vectors first."""
    if growth is None:
        return []
    ordered = sorted(growth.exponents, key=lambda one: list(PER.values()).index(growth.per(one)))
    return [
        Way(one.way, growth.per(one), colour, exponent_text(one))
        for one, colour in zip(ordered, SERIES, strict=False)
    ]


def exponent_text(exponent: Exponent) -> str:
    """Return the exponent with its interval."""
    return f"N^{exponent.value:.2f} ({exponent.low:.2f} to {exponent.high:.2f})"


def claim_groups(
    claims: Sequence[dict[str, Any]], ways: Sequence[str]
) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    """Return the rows of the guide's table by scenario, each with its numbers among ``ways``."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in claims:
        mine = [ways.index(way) + 1 for way in _ways(row)]
        groups.setdefault(row["scenario"], []).append(row | {"ways": mine})
    return list(groups.items())


def _ways(claim: dict[str, Any]) -> list[str]:
    return [way for way in claim["how"].split("; ") if way]


def missing(data: LabData) -> dict[str, str]:
    """Return by section the command that makes what it lacks."""
    parts = {
        "claims": (CLAIMS, data.claims),
        "efficiency": (SCALE, efficiency_rows(data.runs) or None),
        "growth": (GROWTH, data.growth),
        "funnel": (CASCADE, data.funnel),
        "merge": (MERGE, merge_rows(data.merge) or None),
        "nearest": (NEAREST, data.nearest if data.nearest else None),
    }
    return {name: command for name, (command, found) in parts.items() if found is None}
