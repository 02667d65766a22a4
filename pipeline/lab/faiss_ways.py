"""Our grids beside plain FAISS over the same vectors in memory: recall and time by probes."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
import pyarrow as pa

from pipeline.core.arrays import Ids, Vectors
from pipeline.core.spread import Spread, in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.index.build import drop_sorted, gather_parts, index_partitions, sorted_shards
from pipeline.index.coarse_codes import CoarseCoder
from pipeline.index.grid import Grid
from pipeline.index.probes import Work
from pipeline.index.search_index import OpenIndex, search_index
from pipeline.index.sort_shard import sort_shards
from pipeline.index.training import GridName, index_identity, trained_grid
from pipeline.lab.timing import middle_with_interval

K = 10
ALONE = 100  # queries asked one at a time
ENOUGH = 0.99  # recall@K at which ways are compared
FAISS_IVF, FAISS_FLAT = "FAISS IVF", "FAISS flat"
CANDIDATES = 1000  # whose vectors ours reads for a query
VECTORS_A_CELL = 64  # FAISS trains on about as many
Search = Callable[[Vectors], Ids]


@dataclass(frozen=True)
class Ways:
    """Our indexes by name, as a search opens them; FAISS's IVF and flat index, in memory."""

    ours: dict[str, OpenIndex]
    ivf: Any
    flat: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Those that probe; the flat index compares all."""
        return (*self.ours, FAISS_IVF)

    @property
    def buckets(self) -> int:
        return self.ours["sluice ivf"].partitions.grid.buckets

    def searches(self, probes: Mapping[str, int]) -> dict[str, Search]:
        """Return the searches that ``probes`` names, each in its number of buckets."""
        found: dict[str, Search] = {}
        for name, count in probes.items():
            mine = self.ours.get(name)
            theirs = self.flat if name == FAISS_FLAT else self.ivf
            found[name] = _ours(mine, count) if mine else _theirs(theirs, count)
        return found


@dataclass(frozen=True)
class Timed:
    """A way at a number of probes: its recall@K, and ms of one query (mean of ALONE) and of all.

    The times have a value a round, of the rounds in which all ways compared took turns.
    """

    way: str
    probes: int
    recall: float
    one: list[float]
    all: list[float]

    def row(self, vectors: int) -> dict[str, Any]:
        """Return a row of the table that is kept, the times as medians.

        low and high: the 95 % interval of the ms of 1 query, null of a single round.
        """
        one, whole = float(np.median(self.one)), float(np.median(self.all))
        _, low, high = middle_with_interval(self.one)
        row = {"way": self.way, "probes": self.probes, "recall": self.recall}
        row |= {"ms, 1 query": one, "ms, all queries": whole, "vectors": vectors}
        return row | {"low": low, "high": high}


def grid_index(
    source: Store,
    root: Path,
    kind: GridName,
    buckets: int | None,
    sample: int,
    seed: int,
    spread: Spread,
) -> Store:
    """Sort the embeddings ``source`` into the buckets of a grid at ``root``.

    buckets: none for the square root of the vectors; sample: vectors a bucket to train on.
    """
    store = Store.create(root, "index", index_identity(source, grid=kind))
    with store.lock():
        grid = trained_grid(store, source, kind, buckets, sample, seed)
        partitions = index_partitions(store, source, grid)
        pending, by_partition = partitions.missing(store), sorted_shards(store)
        if pending:
            shards = partitions.new_shards(pending)
            sort_shards(spread, source, by_partition, partitions, 1, shards)
            gather_parts(spread, store, by_partition, partitions, pending)
        drop_sorted(store)
        store.finish(partitions.parts)
    return store


def _opened(index: Store, source: Store) -> OpenIndex:
    partitions = index_partitions(index, source, Grid.required(index))
    return OpenIndex(index, source, partitions, CoarseCoder.required(index), Work(1, CANDIDATES))


def load_ways(source: Store, indexes: Mapping[str, Store]) -> tuple[Ways, dict[str, float]]:
    """Load ``source`` and the grids' indexes by name; return MiB of memory that each way took."""
    taken: dict[str, float] = {}
    ours = {
        f"sluice {grid}": _weighed(taken, f"sluice {grid}", partial(_opened, made, source))
        for grid, made in indexes.items()
    }
    buckets = ours["sluice ivf"].partitions.grid.buckets
    flat = _weighed(taken, FAISS_FLAT, partial(_flat, source))
    ivf = _weighed(taken, FAISS_IVF, partial(_faiss_ivf, source, buckets))
    return Ways(ours, ivf, flat), taken


def recall_curve(ways: Ways, queries: Vectors) -> list[Timed]:
    """Return every way but the flat at each of probe_ladder's counts, timed in one round."""
    truth = _theirs(ways.flat)(queries)
    timed = []
    for count in probe_ladder(ways.buckets):
        timed += time_ways(ways, dict.fromkeys(ways.names, count), queries, truth, 1)
    return timed


def compare_ways(ways: Ways, curve: list[Timed], queries: Vectors, rounds: int) -> list[Timed]:
    """Return each way at the fewest probes of ``curve`` that are enough, and the flat index.

    Ours are left out where none are; FAISS's IVF, which all are compared with, then probes all.
    """
    chosen = {name: fewest_probes(curve, name) for name in ways.names}
    probes = {name: count for name, count in chosen.items() if count}
    probes.setdefault(FAISS_IVF, ways.buckets)
    truth = _theirs(ways.flat)(queries)
    return time_ways(ways, probes | {FAISS_FLAT: 0}, queries, truth, rounds)


def compare_one_bucket(ways: Ways, queries: Vectors, rounds: int) -> list[Timed]:
    """Return our and FAISS's k-means grid at one bucket, and the flat index, timed in turn."""
    truth = _theirs(ways.flat)(queries)
    probes = {"sluice ivf": 1, FAISS_IVF: 1, FAISS_FLAT: 0}
    return time_ways(ways, probes, queries, truth, rounds)


def checked_in_one_bucket(ways: Ways, queries: Vectors) -> float:
    """Return how many vectors lie in the cell of FAISS's IVF that a query falls into, the mean."""
    _, cells = ways.ivf.quantizer.search(queries, 1)
    return float(np.mean([ways.ivf.invlists.list_size(int(cell)) for cell in cells[:, 0]]))


def time_ways(
    ways: Ways, probes: Mapping[str, int], queries: Vectors, truth: Ids, rounds: int
) -> list[Timed]:
    """Time the ways that ``probes`` names in turn, after one query of each to warm up.

    truth: ids (q, K) of the queries' true neighbours.
    """
    searches = ways.searches(probes)
    for search in searches.values():
        search(queries[:1])
    one: dict[str, list[float]] = {name: [] for name in searches}
    whole: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        for name, search in searches.items():
            began = time.perf_counter()
            for row in range(ALONE):
                search(queries[row : row + 1])
            alone = time.perf_counter()
            search(queries)
            one[name].append(1000 * (alone - began) / ALONE)
            whole[name].append(1000 * (time.perf_counter() - alone))
    return [
        Timed(name, probes[name], recall_of(search(queries), truth), one[name], whole[name])
        for name, search in searches.items()
    ]


def recall_of(found: Ids, truth: Ids) -> float:
    """Return the share of the ids ``truth`` (q, k) that stand in the same row of ``found``."""
    hits = [len(set(f) & set(t)) for f, t in zip(found.tolist(), truth.tolist(), strict=True)]
    return sum(hits) / truth.size


def fewest_probes(curve: list[Timed], way: str) -> int:
    """Return the fewest probes measured at which ``way`` finds ENOUGH, 0 where none do."""
    enough = [timed.probes for timed in curve if timed.way == way and timed.recall >= ENOUGH]
    return min(enough, default=0)


def probe_ladder(buckets: int) -> list[int]:
    """Return probe counts about a factor of 2 apart, up to a quarter of the buckets."""
    counts = np.unique(np.geomspace(1, max(3, buckets // 4), 9).round().astype(int))
    return [int(count) for count in counts]


def curve_table(timed: list[Timed], vectors: int) -> pa.Table:
    """Return a row for each of ``timed``, as Timed.row gives it."""
    return pa.Table.from_pylist([one.row(vectors) for one in timed])


def _weighed(taken: dict[str, float], name: str, load: Callable[[], Any]) -> Any:
    process = psutil.Process()
    before = process.memory_info().rss
    loaded = load()
    taken[name] = (process.memory_info().rss - before) / 2**20
    return loaded


def _vectors(store: Store) -> Iterator[Vectors]:
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
    first: list[Vectors] = []
    for vectors in _vectors(store):
        first.append(vectors)
        if sum(map(len, first)) >= VECTORS_A_CELL * buckets:
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


def _ours(made: OpenIndex, probes: int) -> Search:
    at_work = replace(made, work=Work(probes, CANDIDATES))
    return lambda queries: search_index(in_process, at_work, queries, K).ids


def _theirs(made: Any, probes: int = 0) -> Search:
    def search(queries: Vectors) -> Ids:
        if probes:
            made.nprobe = probes
        found: Ids = made.search(queries, K)[1]
        return found

    return search
