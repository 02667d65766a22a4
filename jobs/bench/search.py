"""`sluice bench search`: recall and time of our grids beside plain FAISS, on synthetic vectors."""

import tempfile
from pathlib import Path

import faiss
import pyarrow as pa

from jobs.console import console, print_arrow, print_table
from jobs.lab.config import LabConfig
from jobs.sitting import Sitting
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.index.training import GridName
from pipeline.lab.charts import recall_time_page
from pipeline.lab.faiss_ways import (
    ENOUGH,
    FAISS_IVF,
    K,
    Timed,
    Ways,
    checked_in_one_bucket,
    compare_one_bucket,
    compare_ways,
    curve_table,
    fewest_probes,
    grid_index,
    load_ways,
    recall_curve,
)
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_queries, synthetic_store
from pipeline.lab.timing import middle_and_ends

SHOWN = ["way", "recall", "ms, 1 query", "low", "high", "checked"]
GRIDS: tuple[GridName, ...] = ("ivf", "hash")


def command(config: LabConfig) -> None:
    """Recall and time of our grids beside FAISS's IVF and flat index, on synthetic vectors.

    The ways take turns in each repeat, on as many threads as workers.
    """
    wanted = config.bench_search
    rows, dimensions, queries = wanted.rows, wanted.dimensions, wanted.queries
    settings = SyntheticSettings(rows, max(1000, rows // 50), dimensions, max(10, rows // 200))
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        ways = _ways(config, Path(folder), settings)
        asked = synthetic_queries(settings, queries)
        curve = recall_curve(ways, asked)
        compared = compare_ways(ways, curve, asked, wanted.repeats)
        one = curve_table(compare_one_bucket(ways, asked, wanted.repeats), rows)
        checked = pa.array([checked_in_one_bucket(ways, asked)] * one.num_rows)
        one = one.append_column("checked", checked)
    print_arrow("recall and time by probes", curve_table(curve, rows))
    _print(ways, curve, compared, queries)
    title = f"{rows:,} synthetic clustered vectors x {dimensions}, {queries:,} queries"
    print_arrow(f"the one bucket of {ways.buckets:,} that a query falls into", one.select(SHOWN))
    write_atomically(wanted.output.resolve() / "one_bucket.parquet", parquet_bytes(one))
    _write(wanted.output.resolve(), curve_table(curve, rows), curve_table(compared, rows), title)


def _ways(config: LabConfig, folder: Path, settings: SyntheticSettings) -> Ways:
    """Make the vectors and both indexes in ``folder``; load all ways, print what that took."""
    made, indexes, output = config.index, dict[str, Store](), config.bench_search.output.resolve()
    with Sitting("bench search", settings.rows, config.ray, output) as sitting:
        spread = sitting.spread
        source = synthetic_store(folder / "embeddings", settings, spread, sitting.record)
        for grid in GRIDS:
            drawn = (made.buckets, made.sample, made.seed)
            indexes[grid] = grid_index(source, folder / grid, grid, *drawn, spread)
    faiss.omp_set_num_threads(max(1, config.ray.workers))
    ways, memory = load_ways(source, indexes)
    print_table("memory that loading took", ("way", "MiB"), memory.items())
    return ways


def _print(ways: Ways, curve: list[Timed], compared: list[Timed], queries: int) -> None:
    for name in ways.ours:
        if not fewest_probes(curve, name):
            console.print(
                f"{name} did not reach a recall of {ENOUGH} with a quarter of its buckets"
            )
    base = next(timed for timed in compared if timed.way == FAISS_IVF)
    header = ("way", "probes", f"recall@{K}", "1 query, ms", f"{queries:,} queries, ms")
    rows = [
        (
            timed.way,
            timed.probes,
            timed.recall,
            _spread(timed.one),
            _spread(timed.all),
            _ratio(timed.one, base.one),
            _ratio(timed.all, base.all),
        )
        for timed in compared
    ]
    ratios = (f"1 query: this / {FAISS_IVF}", f"{queries:,}: this / {FAISS_IVF}")
    title = f"recall@{K} >= {ENOUGH}, median of the rounds (least, most)"
    print_table(title, (*header, *ratios), rows)


def _spread(values: list[float]) -> str:
    middle, least, most = middle_and_ends(values)
    return f"{middle:.2f} ({least:.2f}, {most:.2f})"


def _ratio(mine: list[float], other: list[float]) -> str:
    return _spread([m / o for m, o in zip(mine, other, strict=True)])


def _write(output: Path, curve: pa.Table, compared: pa.Table, title: str) -> None:
    write_atomically(output / "curve.parquet", parquet_bytes(curve))
    write_atomically(output / "compared.parquet", parquet_bytes(compared))
    write_atomically(output / "curve.html", recall_time_page(curve, title).encode())
    console.print(f"curve: {output}/curve.html, {output}/curve.parquet")
