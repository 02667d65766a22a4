"""`sluice lab growth`: measured time over the number of vectors, and the fitted exponents."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from jobs.console import console, errors, print_arrow, print_table
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.growth import Way, growth_page, measure_doublings, measure_growth
from pipeline.pages.growth import Exponent, Growth


def command(config: LabConfig) -> None:
    """Measure how the time of pairs, scans, joins and look-ups grows with the vectors.

    They are synthetic, and all is on one thread.
    """
    wanted = config.growth
    growth(wanted.largest, wanted.dimensions, wanted.output.resolve())


def growth(largest: int, dimensions: int, output: Path) -> list[Exponent]:
    """Run the job: time, fit, write points.parquet, exponents.parquet,
    doublings.parquet and growth.html."""
    record = RunRecord("growth", 0, 0)
    with record.stage("growth"):
        measured = measure_growth(largest, dimensions, _tell)
    write_atomically(output / "points.parquet", parquet_bytes(measured.points))
    fitted = pa.Table.from_pylist([asdict(exponent) for exponent in measured.exponents])
    write_atomically(output / "exponents.parquet", parquet_bytes(fitted))
    write_atomically(output / "growth.html", growth_page(measured, dimensions).encode())
    errors.print("twice the vectors")
    with record.stage("doublings"):
        doublings = measure_doublings(largest, dimensions)
    write_atomically(output / "doublings.parquet", parquet_bytes(doublings))
    record.save(output)
    _print(measured)
    print_arrow("time of twice the vectors / of theirs, 95 % low and high", doublings)
    console.print(f"chart: {output}/growth.html")
    return measured.exponents


def _tell(count: int, way: Way) -> None:
    errors.print(f"{count:,} vectors: {way.name}")


def _print(measured: Growth) -> None:
    rows = [
        (p["way"], p["per"], p["vectors"], f"{p['seconds']:.3g}", p["calls"])
        for p in measured.points.to_pylist()
    ]
    print_table("measured", ("way", "per", "vectors", "seconds", "calls"), rows)
    lines = [
        (e.way, measured.in_theory(e), e.value, e.low, e.high, e.points) for e in measured.exponents
    ]
    header = ("way", "in theory", "exponent", "95 % low", "high", "points")
    print_table("seconds = constant x N^exponent", header, lines)
