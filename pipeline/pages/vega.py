"""Charts as Vega-Lite: Altair makes the specs, and Vega draws them as SVG within the page.

Colours are variables of the page's style sheet, so that light, dark and paper need no script.
"""

from functools import cache
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

DAY = 86_400
TIMES = [
    *(10.0**power for power in range(-8, 2)),
    60,
    600,
    3600,
    36_000,
    *(10**n * DAY for n in range(5)),
]
TIME_LABEL = """
datum.value < 1e-6 ? format(datum.value * 1e9, '~r') + ' ns'
: datum.value < 1e-3 ? format(datum.value * 1e6, '~r') + ' µs'
: datum.value < 1 ? format(datum.value * 1e3, '~r') + ' ms'
: datum.value < 60 ? format(datum.value, '~r') + ' s'
: datum.value < 3600 ? format(datum.value / 60, '~r') + ' min'
: datum.value < 86400 ? format(datum.value / 3600, '~r') + ' h'
: format(datum.value / 86400, ',~r') + (datum.value == 86400 ? ' day' : ' days')
""".replace("\n", " ")
COUNTS = [10**power for power in range(13)]
COUNT_LABEL = "replace(format(datum.value, '~s'), 'G', 'B')"
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--soft)",
        "tickColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "text": {"color": "var(--ink)", "fontSize": 12, "font": "system-ui, sans-serif"},
    "aria": False,  # the page describes a chart in words; its marks one by one are noise
}


@cache
def vega_script() -> Markup:
    """Return Vega, Vega-Lite and vega-embed, which sets ``vegaEmbed`` and no other name."""
    # Its own names of one letter would be the page's.
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(f"(() => {{{bundle}}})();")


def spec_of(chart: Any, height: int) -> dict[str, Any]:
    """Return the Vega-Lite spec of ``chart``, as wide as its place and ``height`` pixels high."""
    sized = chart.properties(width="container", height=height)
    made: dict[str, Any] = sized.to_dict(validate=False)  # which a test does: it takes seconds
    fit = {"type": "fit-x", "contains": "padding"}
    return made | {"autosize": fit, "config": CONFIG}


def rows_of(name: str) -> Any:
    """Return a chart over the data that the page's script names ``name``."""
    return alt.Chart(alt.NamedData(name))


def times(field: str, title: str = "time") -> alt.Y:
    """Return seconds on a log axis, its ticks in the unit that fits each."""
    axis = alt.Axis(values=TIMES, labelExpr=TIME_LABEL, **_above(title))
    return alt.Y(f"{field}:Q", axis=axis, scale=alt.Scale(type="log"))


def counts(field: str, title: str, most: int | None = None, finer: bool = False) -> alt.X:
    """Return numbers from 1 up on a log axis, a tick at each power of ten; ``finer``: 1, 2, 5."""
    values = [step * count for count in COUNTS for step in (1, 2, 5)] if finer else COUNTS
    axis = alt.Axis(values=values, labelExpr=COUNT_LABEL, title=title, labelOverlap=True)
    limits = {"domainMax": most} if most else {}
    return alt.X(f"{field}:Q", axis=axis, scale=alt.Scale(type="log", nice=False, **limits))


def _above(title: str) -> dict[str, Any]:
    """Return a title that lies above its axis, where it takes no width from a phone's chart."""
    place = {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleBaseline": "bottom"}
    return {"title": title, "titleX": -36, "titleY": -6} | place


def shares(field: str, title: str, stack: Any = None) -> alt.Y:
    """Return shares on a linear axis from 0, in per cent."""
    axis = alt.Axis(format=".0%", **_above(title))
    return alt.Y(f"{field}:Q", axis=axis, stack=stack)
