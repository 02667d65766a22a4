"""How the time of a way of searching grows with the number of vectors, measured and fitted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Vectors
from pipeline.core.tables import embedding_matrix, flat_column
from pipeline.dedup.pair_join import Members, join_buckets
from pipeline.index.grid import Grid
from pipeline.index.ivf import train_ivf
from pipeline.index.partitions import partition_edges
from pipeline.index.sort_shard import partition_table
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_table
from pipeline.lab.timing import middle_with_interval
from pipeline.pages.growth import CACHES, LOG, Exponent, Growth, fit_exponent, growth_chart
from pipeline.pages.page import render_charts

SIMILARITY = 0.9
LOOK_UPS = 1000
PROBES = 8
SMALLEST = 1024  # vectors
TREE_DIMENSIONS = 3  # in 8, its look-ups grow far faster than log N
PAIRS, SCAN, KEY = "all pairs", "scan", "sorted key"
DOUBLED = {PAIRS: 2**14, SCAN: 2**24, KEY: 2**24}  # vectors at most, of which all are timed again
ROUNDS = 7
AT_LEAST = 0.05  # seconds that calls are repeated for in a round


@dataclass(frozen=True)
class Way:
    """A way of searching: ``prepare`` is not timed; what it returns is, and is called again.

    Look-ups are asked LOOK_UPS at once: one by one, Python's own time would hide how they grow.
    """

    name: str
    theory: str
    per: str  # what one timed call answers
    prepare: Callable[[Vectors], Callable[[], Any]]
    largest: int  # vectors; beyond it, one call takes minutes


def time_way(way: Way, vectors: Vectors, least: float = 0.2) -> tuple[float, int]:
    """Return the median seconds of one call and the number of calls, at least 3 and ``least`` s.

    A call longer than 20 s is timed once.
    """
    call = way.prepare(vectors)
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < least:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        if seconds[0] > 20:
            break
    return float(np.median(seconds)), len(seconds)


def ways() -> list[Way]:
    """Return what is measured, the slowest growth last."""
    many = 2**24
    return [
        Way(PAIRS, "O(N²)", "all vectors", _all_pairs, 2**17),
        Way("bucketed join", "O(N^1.5)", "all vectors", _bucketed_join, many),
        Way(SCAN, "O(N)", "1 query", _scan, many),
        Way("probe of sqrt(N) buckets", "O(N^0.5)", "1 query", _probe, many),
        Way("graph (HNSW)", LOG, "1 query", _graph, 2**17),
        Way(f"k-d tree, PCA-{TREE_DIMENSIONS}", LOG, "1 query", _tree, many),
        Way(KEY, LOG, "1 query", _sorted_key, many),
    ]


def measure_growth(largest: int, dimensions: int, tell: Callable[[int, Way], object]) -> Growth:
    """Time every way over SMALLEST synthetic vectors, twice as many, ..., up to ``largest``.

    All on one thread, since more would hide the growth. ``tell`` hears of each number of vectors
    and way that was timed.
    """
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
                    tell(count, way)
            count *= 2
    return Growth(pa.Table.from_pylist(points), [_fitted(way, points) for way in ways()])


def measure_doublings(largest: int, dimensions: int) -> pa.Table:
    """Return (way, vectors, ratio, low, high, rounds): the time of twice the vectors over theirs.

    A row for each way of DOUBLED, up to ``vectors`` synthetic ones, at most ``largest``. Half and
    all take turns in ROUNDS rounds on one thread; low and high are the 95 % interval.
    """
    faiss.omp_set_num_threads(1)
    timed = {way.name: way for way in ways() if way.name in DOUBLED}
    with threadpool_limits(1):
        rows = [
            _doubling(way, min(largest, DOUBLED[way.name]), dimensions) for way in timed.values()
        ]
    return pa.Table.from_pylist(rows)


def _doubling(way: Way, most: int, dimensions: int) -> dict[str, Any]:
    count = 2 ** int(np.log2(most))
    settings = SyntheticSettings(count, count, dimensions, max(10, count // 200))
    vectors = embedding_matrix(synthetic_table(settings, 0)["embedding"])
    calls = {"half": way.prepare(vectors[: count // 2]), "all": way.prepare(vectors)}
    taken: dict[str, list[float]] = {"half": [], "all": []}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            taken[name].append(_mean_seconds(call))
    ratios = [whole / half for half, whole in zip(*taken.values(), strict=True)]
    ratio, low, high = middle_with_interval(ratios)
    facts = {"way": way.name, "vectors": count, "ratio": ratio, "low": low, "high": high}
    return facts | {"rounds": ROUNDS}


def _mean_seconds(call: Callable[[], Any]) -> float:
    began, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < AT_LEAST or not calls:
        call()
        calls += 1
    return spent / calls


def _point(way: Way, vectors: Vectors) -> dict[str, Any]:
    seconds, calls = time_way(way, vectors)
    answers = LOOK_UPS if way.per == "1 query" and way.theory != "O(N)" else 1
    facts = {"way": way.name, "theory": way.theory, "per": way.per, "vectors": len(vectors)}
    return facts | {"seconds": seconds / answers, "calls": calls * answers}


def _fitted(way: Way, points: list[dict[str, Any]]) -> Exponent:
    mine = [point for point in points if point["way"] == way.name]
    counts, seconds = (np.array([p[name] for p in mine]) for name in ("vectors", "seconds"))
    return fit_exponent(way.name, way.theory, counts, seconds)


def growth_page(growth: Growth, dimensions: int) -> str:
    """Return a page with the chart of ``growth``, and what it was measured on."""
    notes = [
        f"Measured on one thread, {dimensions} dimensions, synthetic clustered vectors; nothing "
        "is extrapolated. A line ends where one call takes too long, or building what it asks.",
        "Building an index, a graph or a tree is not in these times; sorting vectors into their "
        "buckets is in the join's.",
        f"Look-ups are asked {LOOK_UPS:,} at once. {CACHES}",
    ]
    chart = growth_chart(growth.points, growth.exponents)
    return render_charts("Sluice: how time grows", [chart], notes)


def _all_pairs(vectors: Vectors) -> Callable[[], Any]:
    ids = np.arange(len(vectors))
    members = Members(ids, np.zeros((len(ids), 1), np.int32), vectors, 0)
    return lambda: join_buckets(members, range(1), SIMILARITY)


def _grid(vectors: Vectors) -> Grid:
    buckets = int(np.sqrt(len(vectors)))
    return train_ivf(vectors[:: max(1, len(vectors) // (32 * buckets))], buckets, 0)


def _bucketed_join(vectors: Vectors) -> Callable[[], Any]:
    grid, ids = _grid(vectors), np.arange(len(vectors))
    edges = partition_edges(grid.buckets, max(1, grid.buckets // 16))

    def join() -> Any:
        table = partition_table(ids, vectors, grid.nearest(vectors, 3), edges)
        starts = np.searchsorted(table["partition"].to_numpy(), np.arange(len(edges)))
        flat = flat_column(table, "buckets").reshape(-1, 3)
        rows, numbers = embedding_matrix(table["embedding"]), table["id"].to_numpy()
        return [
            join_buckets(
                Members(numbers[some], flat[some], rows[some], 0),
                range(int(edges[part]), int(edges[part + 1])),
                SIMILARITY,
            )
            for part in range(len(edges) - 1)
            for some in [slice(starts[part], starts[part + 1])]
        ]

    return join


def _asked(vectors: Vectors) -> Vectors:
    rows = np.random.default_rng(0).integers(len(vectors), size=LOOK_UPS)
    return vectors[rows]


def _scan(vectors: Vectors) -> Callable[[], Any]:
    queries = _asked(vectors)[:1]
    return lambda: faiss.knn(queries, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)


def _probe(vectors: Vectors) -> Callable[[], Any]:
    grid, queries = _grid(vectors), _asked(vectors)
    cells = faiss.IndexFlatIP(vectors.shape[1])
    cells.add(grid.cells)
    lists = faiss.IndexIVFFlat(cells, vectors.shape[1], grid.buckets, faiss.METRIC_INNER_PRODUCT)
    lists.is_trained, lists.nprobe = True, PROBES
    lists.add(vectors)
    return lambda: lists.search(queries, 10)


def _graph(vectors: Vectors) -> Callable[[], Any]:
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    queries = _asked(vectors)
    return lambda: graph.search(queries, 10)


def _tree(vectors: Vectors) -> Callable[[], Any]:
    _, axes = np.linalg.eigh(np.cov(vectors[:20_000].T))
    axes = axes[:, ::-1][:, :TREE_DIMENSIONS]
    tree, queries = cKDTree(vectors @ axes), _asked(vectors) @ axes
    return lambda: tree.query(queries, 10)


def _sorted_key(vectors: Vectors) -> Callable[[], Any]:
    keys = np.sort(np.ascontiguousarray(vectors[:, 0]))
    queries = _asked(vectors)[:, 0].copy()
    return lambda: keys.searchsorted(queries)
