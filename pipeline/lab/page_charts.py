"""The charts of the lab's page, over data that the page's script gives them by name."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from pipeline.core.forecast import MOST
from pipeline.pages.vega import counts, rows_of, shares, spec_of, times

KINDS = ("measured", "emulated", "extrapolated")
LINES = {"whole": "ink", "shrinks": "shrinks", "waits": "c", "stays": "stays"}  # their colours
PARTS = {  # as they are stacked, with their colours
    "work": "shrinks",
    "waiting": "c",
    "start_up": "b",
    "planning": "a",
    "merge": "d",
    "writing": "e",
}
SERIES = ("shrinks", "stays", "c", "a", "d", "e", "b")
DASHED, DOTTED = [6, 4], [2, 3]
LOW = 230  # pixels from a chart's top


def all_specs(ways: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the Vega-Lite specs by the names of their places; ways: of growth, their colours."""
    return {
        "time": spec_of(time_chart(), 300),
        "parts": spec_of(parts_chart(), 260),
        "efficiency": spec_of(efficiency_chart(), 280),
        "growth-all": spec_of(growth_chart("growth_all", ways), 280),
        "growth-one": spec_of(growth_chart("growth_one", ways), 280),
        "merge": spec_of(merge_chart(), 280),
        "nearest": spec_of(nearest_chart(), 240),
    }


def _workers(title: str = "workers", most: int | None = MOST) -> alt.X:
    return counts("workers", title, most)


def _coloured(field: str, colours: Mapping[str, str]) -> alt.Color:
    variables = [f"var(--{colour})" for colour in colours.values()]
    return alt.Color(
        f"{field}:N", scale=alt.Scale(domain=list(colours), range=variables), legend=None
    )


def _marked(name: str, y: Any, colour: str) -> list[Any]:
    """Return a rule, a point and a label at the rows ``name`` (workers, seconds, label, left)."""
    rows = rows_of(name)
    rule = rows.mark_rule(stroke=colour, strokeDash=DASHED).encode(x=_workers())
    point = rows.mark_point(filled=True, size=70, color=colour).encode(x=_workers(), y=y)
    return [rule, point, *_labels(rows, _workers(), colour)]


def _labels(rows: Any, x: alt.X, colour: str) -> list[Any]:
    """Return the labels of rules: at the bottom on the left, where lines that fall are high."""
    found = []
    for left, align, dx, y in ((True, "right", -6, 2), (False, "left", 6, LOW)):
        mine = rows.transform_filter(f"datum.left == {str(left).lower()}")
        text = mine.mark_text(
            align=align, dx=dx, baseline="top", lineBreak="\n", fontWeight="bold", color=colour
        )
        found.append(text.encode(x=x, y=alt.value(y), text="label:N"))
    return found


def time_chart() -> Any:
    """Draw time against workers: the run, what shrinks, what waits, what stays; where it stops."""
    y = times("seconds")
    band = rows_of("band").mark_area(opacity=0.18, color="var(--ink)")
    band = band.encode(x=_workers(), y=times("low"), y2="high:Q")
    lines = (
        rows_of("lines")
        .mark_line(clip=True)
        .encode(
            x=_workers(),
            y=y,
            color=_coloured("what", LINES),
            strokeWidth=alt.condition("datum.what == 'whole'", alt.value(3.5), alt.value(2)),
        )
    )
    here = rows_of("here").mark_point(size=110, strokeWidth=2.5, color="var(--ink)")
    return alt.layer(
        band, lines, *_marked("stop", y, "var(--mark)"), here.encode(x=_workers(), y=y)
    )


def parts_chart() -> Any:
    """Draw the shares of the whole run that its parts take, by workers."""
    areas = (
        rows_of("parts")
        .mark_area()
        .encode(
            x=_workers(),
            y=shares("share", "share of the run", stack="zero"),
            color=_coloured("part", PARTS),
            order="order:Q",
        )
    )
    rule = rows_of("here").mark_rule(stroke="var(--ink)", strokeDash=DASHED).encode(x=_workers())
    return alt.layer(areas, rule)


def efficiency_chart() -> Any:
    """Draw speed-up / workers: runs by their kind, the chosen law with its band, this job."""
    y = shares("efficiency", "speed-up / workers")
    runs = (
        rows_of("runs")
        .mark_point(filled=True, size=45)
        .encode(
            x=_workers(),
            y=y,
            color=_coloured("kind", {kind: kind for kind in KINDS}),
            shape=alt.Shape("workload:N", legend=None),
        )
    )
    band = rows_of("law").mark_area(opacity=0.2, color="var(--extrapolated)", clip=True)
    band = band.encode(x=_workers(), y=shares("low", "speed-up / workers"), y2="high:Q")
    law = rows_of("law").mark_line(color="var(--extrapolated)", strokeDash=DASHED, clip=True)
    job = rows_of("job").mark_line(color="var(--ink)", strokeWidth=2)
    rule = rows_of("here").mark_rule(stroke="var(--ink)", strokeDash=DASHED).encode(x=_workers())
    return alt.layer(band, law.encode(x=_workers(), y=y), job.encode(x=_workers(), y=y), runs, rule)


def growth_chart(name: str, ways: Mapping[str, str]) -> Any:
    """Draw measured seconds over vectors with slopes to compare with, and the job's images."""
    x, y = counts("vectors", "vectors N", finer=True), times("seconds", "measured time")
    slopes = rows_of(f"{name}_slopes")
    dotted = slopes.mark_line(strokeDash=DOTTED, color="var(--soft)").encode(
        x=x, y=y, detail="slope:N"
    )
    named = slopes.transform_filter("datum.label != ''")
    names = named.mark_text(align="right", dy=-8, color="var(--soft)").encode(
        x=x, y=y, text="label:N"
    )
    points = (
        rows_of(name)
        .mark_line(point={"filled": True, "size": 36})
        .encode(x=x, y=y, color=_coloured("way", ways))
    )
    return alt.layer(dotted, names, points)


def merge_chart() -> Any:
    """Draw the search's share of each of W workers, and the driver's merge, which stays."""
    y = times("seconds")
    colours = {"search": "shrinks", "certified": "stays", "faiss_heap": "c", "tree": "a"}
    lines = (
        rows_of("merge")
        .mark_line(strokeWidth=2.5)
        .encode(x=_workers(), y=y, color=_coloured("what", colours))
    )
    rule = rows_of("here").mark_rule(stroke="var(--ink)", strokeDash=DASHED).encode(x=_workers())
    return alt.layer(lines, *_marked("crossing", y, "var(--mark)"), rule)


def nearest_chart() -> Any:
    """Draw one query's milliseconds by workers, stacked from zero."""
    colours = {"scan": "shrinks", "scheduling": "stays", "merge": "c"}
    x = alt.X("by:N", sort=None, axis=alt.Axis(labelAngle=0, title="workers"))
    axis = alt.Axis(title="ms", titleAngle=0, titleAnchor="end", titleAlign="left", titleY=-6)
    bars = (
        rows_of("nearest")
        .mark_bar()
        .encode(
            x=x,
            y=alt.Y("ms:Q", stack="zero", axis=axis),
            color=_coloured("part", colours),
            order="order:Q",
        )
    )
    totals = rows_of("nearest_totals").mark_text(dy=-8).encode(x=x, y="ms:Q", text="label:N")
    return alt.layer(bars, totals)
