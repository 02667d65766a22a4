"""`sluice bench-search`: recall and time of our grids beside plain FAISS, on synthetic vectors."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import psutil
import pyarrow as pa

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, print_table
from jobs.index import index
from jobs.sitting import Sitting
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, parquet_bytes
from pipeline.lab.charts import recall_time_page
from pipeline.lab.resident_index import ResidentIndex
from pipeline.lab.synthetic_vectors import (
    SyntheticSettings,
    synthetic_queries,
    synthetic_store,
)

K = 10
OUTPUT = Path("work/bench-search")
ALONE = 100  # queries asked one at a time
FAISS_IVF, FAISS_FLAT = "FAISS IVF", "FAISS flat"
Search = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
Times = tuple[list[float], list[float]]  # ms of one query, and of all, a value a round


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(2000))
@click.option("--dimensions", default=256, show_default=True, type=click.IntRange(8))
@click.option("--queries", default=1000, show_default=True, type=click.IntRange(100))
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path))
@with_config
def command(
    config: Config, rows: int, dimensions: int, queries: int, repeats: int, output: Path
) -> None:
    """Index ROWS synthetic vectors by both grids; search them beside FAISS's IVF and flat index.

    The ways take turns in each of REPEATS rounds, on ray.workers threads.
    """
    settings = SyntheticSettings(rows, max(1000, rows // 50), dimensions, max(10, rows // 200))
    output = output.resolve()
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        with Sitting("make vectors", 0, config.ray) as sitting:
            root = Path(folder) / "embeddings"
            store = synthetic_store(root, settings, sitting.spread, sitting.record)
        indexes = {grid: _built(config, store, Path(folder), grid) for grid in ("ivf", "hash")}
        faiss.omp_set_num_threads(max(1, config.ray.workers))
        asked = synthetic_queries(settings, queries)
        curve, compared = _measure(store, indexes, asked, repeats)
    title = f"{rows:,} synthetic clustered vectors x {dimensions}, {queries:,} queries"
    write_atomically(output / "curve.parquet", parquet_bytes(curve))
    write_atomically(output / "compared.parquet", parquet_bytes(compared))
    write_atomically(output / "curve.html", recall_time_page(curve, title).encode())
    console.print(f"curve: {output}/curve.html, {output}/curve.parquet")


def _built(config: Config, store: Store, folder: Path, grid: str) -> Store:
    """Run the index job on ``store``."""
    wanted = {"output": folder / grid, "grid": grid, "vectors": "f16"}
    mine = config.model_copy(
        update={
            "embed": config.embed.model_copy(update={"output": store.root}),
            "index": config.index.model_copy(update=wanted),
        }
    )
    index(mine)
    return Store.open(folder / grid, "index")


@dataclass(frozen=True)
class _Ways:
    """All ways in memory: ours by name, FAISS's IVF with as many buckets, and its flat index."""

    ours: dict[str, ResidentIndex]
    ivf: Any
    flat: Any

    @property
    def buckets(self) -> int:
        return self.ours["sluice ivf"].grid.buckets

    def probing(self, probes: dict[str, int]) -> dict[str, Search]:
        """Return the searches that ``probes`` names, each in its number of buckets."""
        found: dict[str, Search] = {}
        for name, count in probes.items():
            mine = self.ours.get(name)
            found[name] = _ours(mine, count) if mine else _theirs(self.ivf, count)
        return found


def _measure(
    store: Store, indexes: dict[str, Store], queries: np.ndarray[Any, Any], repeats: int
) -> tuple[pa.Table, pa.Table]:
    """Load all ways, print what that took and how they compare.

    Returns the recall and time of every probe count, and of every way at the count compared.
    """
    loaded, images = _load_all(store, indexes), store.images()
    names = (*loaded.ours, FAISS_IVF)
    truth = loaded.flat.search(queries, K)[1]
    rows: list[dict[str, Any]] = []
    for probes in _ladder(loaded.buckets):
        ways = loaded.probing(dict.fromkeys(names, probes))
        timed = _rounds(ways, queries, 1)
        rows += [
            _row(name, probes, _recall(search(queries), truth), timed[name], images)
            for name, search in ways.items()
        ]
    curve = pa.Table.from_pylist(rows)
    print_table("recall and time by probes", curve.column_names, [list(r.values()) for r in rows])
    chosen = {name: _fewest(rows, name) for name in names}
    for name in loaded.ours:
        if not chosen[name]:
            console.print(f"{name} did not reach a recall of .99 with a quarter of its buckets")
    compared = {name: count for name, count in chosen.items() if count}
    compared.setdefault(FAISS_IVF, loaded.buckets)
    ways = loaded.probing(compared) | {FAISS_FLAT: _theirs(loaded.flat)}
    timed = _rounds(ways, queries, repeats)
    found = {name: _recall(search(queries), truth) for name, search in ways.items()}
    _print_compared(compared, found, timed, len(queries))
    return curve, pa.Table.from_pylist(
        [_row(n, compared.get(n, 0), found[n], timed[n], images) for n in ways]
    )


def _load_all(store: Store, indexes: dict[str, Store]) -> _Ways:
    """Return all ways loaded; print the memory that each took."""
    memory: list[tuple[str, float]] = []
    ours = {
        f"sluice {grid}": _loaded(memory, f"sluice {grid}", partial(ResidentIndex, made, store))
        for grid, made in indexes.items()
    }
    buckets = ours["sluice ivf"].grid.buckets
    flat = _loaded(memory, FAISS_FLAT, partial(_flat, store))
    ivf = _loaded(memory, FAISS_IVF, partial(_faiss_ivf, store, buckets))
    print_table("memory that loading took", ("way", "MiB"), memory)
    return _Ways(ours, ivf, flat)


def _print_compared(
    probes: dict[str, int], recall: dict[str, float], timed: dict[str, Times], queries: int
) -> None:
    print_table(
        f"recall@{K} >= .99, median of the rounds (least, most)",
        (
            "way",
            "probes",
            f"recall@{K}",
            "1 query, ms",
            f"{queries:,} queries, ms",
            "1 query: this / FAISS IVF",
            f"{queries:,}: this / FAISS IVF",
        ),
        [
            (
                name,
                probes.get(name, 0),
                recall[name],
                *(_spread(t) for t in times),
                *(_ratio(t, u) for t, u in zip(times, timed[FAISS_IVF], strict=True)),
            )
            for name, times in timed.items()
        ],
    )


def _loaded(memory: list[tuple[str, float]], name: str, load: Callable[[], Any]) -> Any:
    process = psutil.Process()
    before = process.memory_info().rss
    loaded = load()
    memory.append((name, (process.memory_info().rss - before) / 2**20))
    return loaded


def _vectors(store: Store) -> Iterator[np.ndarray[Any, Any]]:
    for entry in store.manifest():
        yield embedding_matrix(store.read(entry.shard, ["embedding"])["embedding"])


def _flat(store: Store) -> Any:
    made = None
    for vectors in _vectors(store):
        made = made or faiss.IndexFlatIP(vectors.shape[1])
        made.add(vectors)
    return made


def _faiss_ivf(store: Store, buckets: int) -> Any:
    """Plain IndexIVFFlat with as many cells, trained by FAISS itself on the first vectors."""
    first = []
    for vectors in _vectors(store):
        first.append(vectors)
        if sum(map(len, first)) >= 64 * buckets:
            break
    sample = np.concatenate(first)
    dimensions = sample.shape[1]
    made = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimensions), dimensions, buckets, faiss.METRIC_INNER_PRODUCT
    )
    made.train(sample)
    for vectors in _vectors(store):
        made.add(vectors)
    return made


def _ours(made: ResidentIndex, probes: int) -> Search:
    return lambda queries: made.search(queries, K, probes).ids


def _theirs(made: Any, probes: int = 0) -> Search:
    def search(queries: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if probes:
            made.nprobe = probes
        found: np.ndarray[Any, Any] = made.search(queries, K)[1]
        return found

    return search


def _rounds(
    ways: dict[str, Search], queries: np.ndarray[Any, Any], repeats: int
) -> dict[str, Times]:
    """Return ms of one query (mean of ALONE) and of all, by way, a value a round."""
    for search in ways.values():
        search(queries[:1])
    timed: dict[str, Times] = {name: ([], []) for name in ways}
    for _ in range(repeats):
        for name, search in ways.items():
            began = time.perf_counter()
            for row in range(ALONE):
                search(queries[row : row + 1])
            alone = time.perf_counter()
            search(queries)
            timed[name][0].append(1000 * (alone - began) / ALONE)
            timed[name][1].append(1000 * (time.perf_counter() - alone))
    return timed


def _row(name: str, probes: int, recall: float, timed: Times, vectors: int) -> dict[str, Any]:
    one, many = (float(np.median(times)) for times in timed)
    facts = {"way": name, "probes": probes, "recall": recall, "ms, 1 query": one}
    return facts | {"ms, all queries": many, "vectors": vectors}


def _recall(found: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    hits = [len(set(f) & set(t)) for f, t in zip(found.tolist(), truth.tolist(), strict=True)]
    return sum(hits) / truth.size


def _fewest(rows: list[dict[str, Any]], name: str) -> int:
    """Return the fewest probes measured that reach a recall of .99, 0 where none do."""
    enough = [r["probes"] for r in rows if r["way"] == name and r["recall"] >= 0.99]
    return min(enough, default=0)


def _ladder(buckets: int) -> list[int]:
    """Return probe counts about a factor of 2 apart, up to a quarter of the buckets."""
    counts = np.unique(np.geomspace(1, max(3, buckets // 4), 9).round().astype(int))
    return [int(count) for count in counts]


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def _ratio(mine: list[float], other: list[float]) -> str:
    return _spread([m / o for m, o in zip(mine, other, strict=True)])
