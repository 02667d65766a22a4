"""`sluice growth`: measured time over the number of vectors, and the fitted exponents."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from jobs.cli import with_config_of
from jobs.console import console, errors, print_table
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.core.tables import embedding_matrix, parquet_bytes
from pipeline.lab.growth import LOOK_UPS, Way, time_way, ways
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_table
from pipeline.pages.growth import CACHES, Exponent, Growth, fit_exponent, growth_chart
from pipeline.pages.page import render_charts

SMALLEST = 1024


@click.command()
@click.option("--largest", default=2**18, show_default=True, type=click.IntRange(4 * SMALLEST))
@click.option("--dimensions", default=256, show_default=True, type=click.IntRange(8))
@with_config_of(LabConfig)
def command(config: LabConfig, largest: int, dimensions: int) -> None:
    """Time every way from 1,024 synthetic vectors up to LARGEST, on one thread."""
    # Not ray.workers: they would hide the growth.
    growth(largest, dimensions, config.growth.output.resolve())


def growth(largest: int, dimensions: int, output: Path) -> list[Exponent]:
    """Run the job: time, fit, write points.parquet, exponents.parquet and growth.html."""
    points: list[dict[str, Any]] = []
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        count = SMALLEST
        while count <= largest:
            settings = SyntheticSettings(count, count, dimensions, max(10, count // 200))
            vectors = embedding_matrix(synthetic_table(settings, 0)["embedding"])
            for way in ways():
                if count <= way.largest:
                    points.append(_point(way, vectors))
                    errors.print(f"{count:,} vectors: {way.name}")
            count *= 2
    table = pa.Table.from_pylist(points)
    exponents = [_fitted(way, points) for way in ways()]
    write_atomically(output / "points.parquet", parquet_bytes(table))
    fitted = pa.Table.from_pylist([asdict(exponent) for exponent in exponents])
    write_atomically(output / "exponents.parquet", parquet_bytes(fitted))
    notes = [
        f"Measured on one thread, {dimensions} dimensions, synthetic clustered vectors; nothing "
        "is extrapolated. A line ends where one call takes too long, or building what it asks.",
        "Building an index, a graph or a tree is not in these times; sorting vectors into their "
        "buckets is in the join's.",
        f"Look-ups are asked {LOOK_UPS:,} at once. {CACHES}",
    ]
    page = render_charts("Sluice: how time grows", [growth_chart(table, exponents)], notes)
    write_atomically(output / "growth.html", page.encode())
    _print(Growth(table, exponents))
    console.print(f"chart: {output}/growth.html")
    return exponents


def _point(way: Way, vectors: np.ndarray[Any, Any]) -> dict[str, Any]:
    seconds, calls = time_way(way, vectors)
    answers = LOOK_UPS if way.per == "1 query" and way.theory != "O(N)" else 1
    facts = {"way": way.name, "theory": way.theory, "per": way.per, "vectors": len(vectors)}
    return facts | {"seconds": seconds / answers, "calls": calls * answers}


def _fitted(way: Way, points: list[dict[str, Any]]) -> Exponent:
    mine = [point for point in points if point["way"] == way.name]
    counts, seconds = (np.array([p[name] for p in mine]) for name in ("vectors", "seconds"))
    return fit_exponent(way.name, way.theory, counts, seconds)


def _print(found: Growth) -> None:
    rows = [
        (p["way"], p["per"], p["vectors"], f"{p['seconds']:.3g}", p["calls"])
        for p in found.points.to_pylist()
    ]
    print_table("measured", ("way", "per", "vectors", "seconds", "calls"), rows)
    lines = [(e.way, found.in_theory(e), e.value, e.low, e.high, e.points) for e in found.exponents]
    header = ("way", "in theory", "exponent", "95 % low", "high", "points")
    print_table("seconds = constant x N^exponent", header, lines)
