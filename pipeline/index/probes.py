"""How many buckets and candidates a search by index must take for a recall, with a lower bound.

A neighbour is found where its bucket is among those probed and its code among the candidates'. So
the place of its bucket in the query's own order, and the number of codes that score above its own,
say all: recall at every such work is known from one exact search of sample queries. The codes above
are counted in all buckets, which are more than in those probed: the recall told is a little low.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores, Vectors
from pipeline.core.bounds import lower_bounds
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import flat_column, parquet_bytes, table_of
from pipeline.index.grid import Grid

NOT_THERE = -1
CALIBRATION, BOUNDS = "calibration.parquet", "bounds.parquet"
CODE_ROW = 84  # bytes a search reads of a row whose bucket it probes


@dataclass(frozen=True)
class Work:
    """What a search does for a query: the buckets whose codes it compares, the vectors it reads."""

    probes: int
    candidates: int

    def read(self, buckets: int, images: int, dimensions: int) -> float:
        """Return the bytes it reads of an index of ``images`` in ``buckets``, about."""
        return self.probes / buckets * images * CODE_ROW + self.candidates * 4 * dimensions


@dataclass(frozen=True)
class WorkRecall:
    """Recall at some work. The bound holds for queries such as those sampled."""

    recall: float  # of all sampled queries' neighbours
    low: float  # Clopper-Pearson lower bound, one neighbour drawn a query
    confidence: float
    queries: int


@dataclass(frozen=True)
class Bounds:
    """Lower bounds at a confidence; those of as many draws as are kept need no library again."""

    confidence: float
    kept: Scores = field(default_factory=lambda: np.empty(0))

    def of(self, drawn: int) -> Scores:
        """Return (drawn + 1,): the bound at each count of successes among ``drawn``."""
        if len(self.kept) == drawn + 1:
            return self.kept
        return lower_bounds(np.arange(drawn + 1), drawn, self.confidence)


@dataclass(frozen=True)
class Evidence:
    """Where the true neighbours of sampled queries lie, among ``images``."""

    places: Numbers  # (q, k) of each neighbour's bucket in its query's order, -1: no neighbour
    ranks: Ids  # (q, k): codes that score above the neighbour's
    nearest: Scores  # (q,): the score of the nearest neighbour, -inf where there is none
    images: int

    def halves(self, k: int) -> tuple["Evidence", "Evidence"]:
        """Return the ``k`` best neighbours of queries that choose, and of those that measure."""
        first, second = (
            Evidence(
                self.places[start::2, :k],
                self.ranks[start::2, :k],
                self.nearest[start::2],
                self.images,
            )
            for start in (0, 1)
        )
        return first, second

    def places_among(self, candidates: int) -> Numbers:
        """Return the places, beyond any bucket where so many candidates miss the neighbour."""
        missed = (self.ranks >= candidates) & (self.places >= 0)
        return np.where(missed, np.iinfo(np.int32).max, self.places).astype(np.int32)


def neighbour_places(grid: Grid, queries: Vectors, buckets: AnyArray) -> Numbers:
    """Return int32 (q, k): the place of each neighbour's bucket in its query's order of buckets.

    queries f32 (q, d); buckets int (q, k) of the true neighbours, -1 where there are fewer.
    """
    order = grid.nearest(queries, grid.buckets)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(grid.buckets, dtype=np.int32)[None], axis=1)
    found = np.take_along_axis(places, np.maximum(buckets, 0), axis=1)
    return np.where(buckets < 0, NOT_THERE, found).astype(np.int32)


def probe_recall(places: Numbers, probes: Ids, bounds: Bounds) -> list[WorkRecall]:
    """Return the recall at each number in ``probes`` (p,), from places int32 (q, k).

    Neighbours of one query are not independent, so the bound counts one of each, drawn at random.
    """
    there = places >= 0
    places, there = places[there.any(axis=1)], there[there.any(axis=1)]
    drawn = _one_a_query(places, there)
    found = np.searchsorted(np.sort(drawn), probes)
    low = bounds.of(len(drawn))[found]
    shares = np.searchsorted(np.sort(places[there]), probes) / max(1, there.sum())
    return [
        WorkRecall(float(share), float(bound), bounds.confidence, len(drawn))
        for share, bound in zip(shares, low, strict=True)
    ]


def choose_probes(places: Numbers, buckets: int, recall: float, bounds: Bounds) -> int | None:
    """Return the fewest probes whose recall has a bound of at least ``recall``.

    Numbers of probes are tested from all buckets downwards until one fails, so that testing many
    costs no confidence (fixed-sequence testing). None where even all buckets fail.
    """
    chosen = None
    counts = np.arange(buckets, 0, -1)
    for count, tested in zip(counts, probe_recall(places, counts, bounds), strict=True):
        if tested.low < recall:
            break
        chosen = int(count)
    return chosen


def choose_work(
    evidence: Evidence, buckets: int, dimensions: int, recall: float, bounds: Bounds
) -> Work:
    """Return the work whose recall is at least ``recall`` by its bound and reads the fewest bytes.

    All buckets and all images are candidates where nothing less does: that is exact.
    """
    least = Work(buckets, evidence.images)
    cost = float("inf")
    for count in _ladder(evidence.places.shape[1], evidence.images):
        probes = choose_probes(evidence.places_among(count), buckets, recall, bounds)
        if probes is None:
            continue
        work = Work(probes, count)
        read = work.read(buckets, evidence.images, dimensions)
        if read < cost:
            least, cost = work, read
    return least


def _ladder(least: int, most: int) -> Iterator[int]:
    count = least
    while count < most:
        yield count
        count *= 2


def work_recall(evidence: Evidence, work: Work, bounds: Bounds) -> WorkRecall:
    """Return the recall of ``work`` on queries that did not choose it.

    The bound counts a neighbour a query, the share all: it is told no higher than the share.
    """
    places = evidence.places_among(work.candidates)
    seen = probe_recall(places, np.array([work.probes]), bounds)[0]
    return replace(seen, low=min(seen.low, seen.recall))


def attach_evidence(store: Store, evidence: Evidence) -> None:
    """Keep the evidence in an index store."""
    lists = {"places": list(evidence.places), "ranks": list(evidence.ranks)}
    table = pa.table(lists | {"nearest": evidence.nearest})
    images = {"images": str(evidence.images)}
    store.attach(CALIBRATION, parquet_bytes(table.replace_schema_metadata(images)))


def attach_bounds(store: Store, queries: int, confidence: float) -> None:
    """Keep the bounds of half of ``queries``, at the confidence most searches will ask for."""
    table = pa.table({"low": lower_bounds(np.arange(queries // 2 + 1), queries // 2, confidence)})
    confidence_told = table.replace_schema_metadata({"confidence": str(confidence)})
    store.attach(BOUNDS, parquet_bytes(confidence_told))


def read_bounds(store: Store, confidence: float) -> Bounds:
    """Return the bounds at ``confidence``, with those kept in ``store`` where they are at it."""
    data = store.attached(BOUNDS)
    table = table_of(data) if data else None
    if table is None or float(table.schema.metadata[b"confidence"]) != confidence:
        return Bounds(confidence)
    return Bounds(confidence, table["low"].to_numpy())


def calibrated_images(store: Store) -> int:
    """Return the images among which the store's evidence was gathered; 0 where it has none."""
    data = store.attached(CALIBRATION)
    return int(pq.read_schema(pa.BufferReader(data)).metadata[b"images"]) if data else 0


def read_evidence(store: Store) -> Evidence:
    """Return the evidence kept in ``store``. Raises InputError where the index is unfinished."""
    data = store.attached(CALIBRATION)
    if data is None:
        raise InputError(f"{store.root} is not finished; run sluice index again: it resumes")
    table = table_of(data)
    places, ranks = (flat_column(table, name) for name in ("places", "ranks"))
    shape = (table.num_rows, -1)
    images = int(table.schema.metadata[b"images"])
    nearest = table["nearest"].to_numpy()
    return Evidence(places.reshape(shape), ranks.reshape(shape), nearest, images)


def _one_a_query(places: Numbers, there: Mask) -> AnyArray:
    rng = np.random.default_rng(0)
    keys = np.where(there, rng.random(places.shape), -1.0)
    return np.take_along_axis(places, keys.argmax(axis=1)[:, None], axis=1)[:, 0]
