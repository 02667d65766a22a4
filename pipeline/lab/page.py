"""The scaling lab as one HTML page: where more workers stop helping. It loads nothing."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from pipeline.core.forecast import WORDS
from pipeline.core.origin import VERSION
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
from pipeline.pages.growth import CACHES, Exponent
from pipeline.pages.page import TEMPLATES
from pipeline.pages.vega import vega_script

VERDICTS = {"holds": "good", "its sums are off": "off", "not so here": "bad"}


def render_lab(data: LabData) -> str:
    """Return the page; what its sliders show is read from tables within it."""
    law, around = law_rows(data.runs, data.laws, data.measured.workload)
    plans = plans_by_recall(data.recall_costs.to_pylist() if data.recall_costs else [])
    claims = data.claims.to_pylist() if data.claims else []
    claim_ways = list(dict.fromkeys(way for row in claims for way in _ways(row)))
    ways, merges = growth_ways(data), merge_rows(data.merge)
    efficiencies = efficiency_rows(data.runs)
    rows = growth_rows(data.growth) | nearest_rows(data.nearest)
    inside = {
        "job": {"images": data.job.images, "ms": data.job.ms, "workers": data.job.workers},
        "work": data.work,
        "words": {name: WORDS.get(name, data.work) for name in PARTS},
        "grid": forecast_grid(
            data.measured.costs, data.work, data.job.images, data.job.ms, data.job.shards
        ),
        "specs": all_specs({way: colour for way, colour, _ in ways}),
        "rows": rows | {"runs": efficiencies, "law": around},
        "merges": merges,
        "plans": plans,
        "recall": data.recall,
    }
    return TEMPLATES.get_template("lab.html.j2").render(
        data=data,
        parts=PARTS,
        words=WORDS,
        law=law,
        banded=any("low" in row for row in around),
        growth_per={one.way: per(data, one) for one in data.growth.exponents}
        if data.growth
        else {},
        plans_queries=plans[0]["queries"] if plans else 0,
        run_kinds=list(dict.fromkeys(row["kind"] for row in efficiencies)),
        run_names=_names_by_kind(efficiencies),
        has_tree=any(row["tree"] for row in merges),
        nearest_told=nearest_told(data.nearest),
        nearest_points=_points(data.nearest),
        today=datetime.now(UTC).date().isoformat(),
        version=VERSION,
        ways=ways,
        plans=plans,
        claims=claim_groups(claims, claim_ways),
        claim_ways=claim_ways,
        verdicts=VERDICTS,
        caches=CACHES,
        missing=missing(data),
        vega=vega_script(),
        json=script_json(inside),
    )


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


def growth_ways(data: LabData) -> list[tuple[str, str, str]]:
    """Return (way, colour, exponent with its interval) of what growth measured, as it is drawn."""
    if not data.growth:
        return []
    ordered = sorted(data.growth.exponents, key=lambda e: list(PER.values()).index(per(data, e)))
    return [
        (one.way, colour, exponent_text(one)) for one, colour in zip(ordered, SERIES, strict=False)
    ]


def per(data: LabData, exponent: Exponent) -> str:
    """Return what one answer of a way is for."""
    assert data.growth
    return data.growth.per(exponent)


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
