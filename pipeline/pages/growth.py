"""How the time of searching grows with the number of vectors: what was measured, drawn."""

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
from scipy.stats import linregress, t

from pipeline.core.arrays import Ids, Scores
from pipeline.core.folder import Place
from pipeline.core.tables import read_parquet
from pipeline.pages.page import INK

LOG = "O(log N)"
CACHES = (
    "What fits a cache is looked up faster, so a look-up's time can grow faster than its steps."
)
COLOURS = ("#2f7dd1", "#c2571a", "#3a9d5d", "#8a5cc7", "#b03a5b", "#7a7a1a")


@dataclass(frozen=True)
class Exponent:
    """Seconds grow as vectors to the power ``value``, by least squares on logarithms."""

    way: str
    theory: str
    value: float
    low: float  # 95 % interval by Student's t
    high: float
    points: int


def fit_exponent(way: str, theory: str, counts: Ids, seconds: Scores) -> Exponent:
    """Return the exponent of seconds (p,) over vectors (p,), p at least 3."""
    line: Any = linregress(np.log(counts), np.log(seconds))
    half = t.ppf(0.975, len(counts) - 2) * line.stderr
    return Exponent(way, theory, line.slope, line.slope - half, line.slope + half, len(counts))


@dataclass(frozen=True)
class Growth:
    """What `sluice lab growth` measured."""

    points: pa.Table  # way, theory, per, vectors, seconds, calls
    exponents: list[Exponent]

    def measured(self, exponent: Exponent) -> pa.Table:
        """Return the points of a way."""
        return self.points.filter(pa.compute.equal(self.points["way"], exponent.way))

    def per(self, exponent: Exponent) -> str:
        """Return what one answer of a way is for."""
        return str(self.measured(exponent)["per"][0])

    def in_theory(self, exponent: Exponent) -> str:
        """Return the theory of a way; log N has no exponent but the one over its own sizes."""
        if exponent.theory != LOG:
            return exponent.theory
        counts = self.measured(exponent)["vectors"].to_numpy()
        like = fit_exponent(exponent.way, LOG, counts, np.log(counts)).value
        return f"{LOG}, here N^{like:.2f}"


def growth_chart(points: pa.Table, exponents: list[Exponent]) -> go.Figure:
    """Draw measured seconds over vectors, both logarithmic, with each way's fitted exponent."""
    figure = go.Figure()
    ways = np.array(points["way"].to_pylist())
    for colour, fitted in zip(cycle((*COLOURS, INK)), exponents, strict=False):
        mine = points.filter(pa.array(ways == fitted.way))
        figure.add_trace(
            go.Scatter(
                x=mine["vectors"].to_pylist(),
                y=mine["seconds"].to_pylist(),
                mode="lines+markers",
                line_color=colour,
                name=f"{fitted.way}: N^{fitted.value:.2f}",
            )
        )
    figure.update_xaxes(type="log", title="vectors N", dtick=1)
    return figure.update_yaxes(type="log", title="measured seconds", dtick=1)


def read_growth(folder: Place) -> Growth | None:
    """Return what the job has left in ``folder``, None where it was not run.

    Raises StoreError where a file is damaged.
    """
    paths = [folder / f"{name}.parquet" for name in ("points", "exponents")]
    if not all(path.exists() for path in paths):
        return None
    points, exponents = (read_parquet(path, "run sluice lab growth again") for path in paths)
    return Growth(points, [Exponent(**row) for row in exponents.to_pylist()])
