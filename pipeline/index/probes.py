"""How many buckets a search must probe for a recall, with a lower bound on it.

A neighbour is found just when its bucket is among those probed, since what is in the true top k is
in the top k of every part that holds it. So the place of its bucket in the query's own order says
all: recall at every number of probes is known from one exact search of sample queries.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Vectors
from pipeline.core.bounds import lower_bounds
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.index.grid import Grid
from pipeline.index.shard_prober import ProbePlan
from pipeline.search.answers import without_self
from pipeline.search.batches import search_everything, search_in_batches
from pipeline.search.merge import Merged
from pipeline.search.queries import Queries, sample_ids, stored_queries

NOT_THERE = -1
CALIBRATION = "calibration.parquet"


@dataclass(frozen=True)
class ProbeRecall:
    """Recall at a number of probes. The bound holds for queries such as those sampled."""

    probes: int
    recall: float  # of all sampled queries' neighbours
    low: float  # Clopper-Pearson lower bound, one neighbour drawn a query
    confidence: float
    queries: int


def neighbour_places(grid: Grid, queries: Vectors, buckets: AnyArray) -> Numbers:
    """Return int32 (q, k): the place of each neighbour's bucket in its query's order of buckets.

    queries f32 (q, d); buckets int (q, k) of the true neighbours, -1 where there are fewer.
    """
    order = grid.nearest(queries, grid.buckets)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(grid.buckets, dtype=np.int32)[None], axis=1)
    found = np.take_along_axis(places, np.maximum(buckets, 0), axis=1)
    return np.where(buckets < 0, NOT_THERE, found).astype(np.int32)


def probe_recall(places: Numbers, probes: Ids, confidence: float) -> list[ProbeRecall]:
    """Return the recall at each number in ``probes`` (p,), from places int32 (q, k).

    Neighbours of one query are not independent, so the bound counts one of each, drawn at random.
    """
    there = places >= 0
    places, there = places[there.any(axis=1)], there[there.any(axis=1)]
    drawn = _one_a_query(places, there)
    found = (drawn[:, None] < probes).sum(axis=0)
    low = lower_bounds(found, len(drawn), confidence)
    shares = [float((places[there] < count).mean()) for count in probes]
    return [
        ProbeRecall(int(count), share, float(bound), confidence, len(drawn))
        for count, share, bound in zip(probes, shares, low, strict=True)
    ]


def choose_probes(places: Numbers, buckets: int, recall: float, confidence: float) -> int:
    """Return the fewest probes whose recall is at least ``recall`` with ``confidence``.

    Numbers of probes are tested from all buckets downwards until one fails, so that testing many
    costs no confidence (fixed-sequence testing). Probing all buckets is exact and always holds.
    """
    counts = np.arange(buckets, 0, -1)
    chosen = buckets
    for tested in probe_recall(places, counts, confidence)[1:]:
        if tested.low < recall:
            break
        chosen = tested.probes
    return chosen


def attach_calibration(store: Store, places: Numbers, images: int) -> None:
    """Keep places int32 (q, k), known among ``images`` rows, in an index store."""
    table = pa.table({"places": list(places), "images": np.full(len(places), images)})
    store.attach(CALIBRATION, parquet_bytes(table))


def calibrated_images(store: Store) -> int:
    """Return the rows among which the store's calibration was made; 0 where it has none."""
    data = store.attached(CALIBRATION)
    return pq.read_table(pa.BufferReader(data))["images"][0].as_py() if data else 0


def read_calibration(store: Store) -> tuple[Numbers, Numbers]:
    """Return places int32 (q, k) twice: of the queries that choose, and of those that measure.

    Raises InputError where the index was never finished.
    """
    data = store.attached(CALIBRATION)
    if data is None:
        raise InputError(f"{store.root} is not finished; run sluice index again: it resumes")
    places = np.stack(pq.read_table(pa.BufferReader(data))["places"].to_numpy())
    return places[::2], places[1::2]


def _one_a_query(places: Numbers, there: Mask) -> AnyArray:
    rng = np.random.default_rng(0)
    keys = np.where(there, rng.random(places.shape), -1.0)
    return np.take_along_axis(places, keys.argmax(axis=1)[:, None], axis=1)[:, 0]


@dataclass(frozen=True)
class Probing:
    """An index, and how many of its buckets each query probes."""

    index: Store
    grid: Grid
    recall: ProbeRecall  # at these probes, on queries that did not choose them

    def plan(self, embeddings: Path, queries: Vectors, depth: int) -> ProbePlan:
        """Return the plan of the ``depth`` best in the buckets that each of ``queries`` probes."""
        probes = self.grid.nearest(queries, self.recall.probes)
        return ProbePlan(self.index.root, embeddings, queries, probes, self.grid.buckets, depth)


def open_probing(
    root: Path, embeddings: Store, k: int, recall: float, confidence: float
) -> Probing:
    """Open the index of ``embeddings`` at ``root``, and choose the probes for ``recall`` at ``k``.

    Raises StoreError where the index is of other embeddings or lacks some, ConfigError where its
    recall at ``k`` is not known.
    """
    index = Store.open(root, "index")
    made, there = index.manifest(), embeddings.manifest()
    if (index.identity["embeddings"], index.identity["first_shard"]) != (
        embeddings.identity,
        there[0].checksum,
    ):
        raise StoreError(f"{root} is the index of other embeddings; mend index.output")
    if [entry.rows for entry in made] != [entry.rows for entry in there]:
        raise StoreError(f"{root} does not cover all of {embeddings.root}; run sluice index --add")
    known = index.identity["calibration"][1]
    if k > known:
        raise ConfigError(
            f"search.k is {k}, but the index knows its recall up to {known}; "
            "make another index with a larger index.calibration_k"
        )
    choosing, measuring = (places[:, :k] for places in read_calibration(index))
    grid = Grid.required(index)
    probes = choose_probes(choosing, grid.buckets, recall, confidence)
    return Probing(index, grid, probe_recall(measuring, np.array([probes]), confidence)[0])


def probing_loss(probing: Probing | None) -> str:
    """Return what a search lost against brute force, in a sentence."""
    if probing is None:
        return "exact: every image was compared, nothing is lost against brute force"
    seen, buckets = probing.recall, probing.grid.buckets
    return (
        f"probed {seen.probes} of {buckets} buckets: recall against brute force {seen.recall:.4f}, "
        f"at least {seen.low:.4f} with {seen.confidence:.0%} confidence, measured on "
        f"{seen.queries} sampled images that did not choose the probes"
    )


def buckets_of(store: Store, ids: Ids) -> AnyArray:
    """Return the bucket of each of ``ids`` (any shape), -1 where the index lacks it."""
    known = pa.concat_tables(
        [store.read(entry.shard, ["id", "bucket"]) for entry in store.entries()]
    ).sort_by("id")
    numbers, buckets = known["id"].to_numpy(), known["bucket"].to_numpy()
    place = np.minimum(np.searchsorted(numbers, ids), len(numbers) - 1)
    found: AnyArray = np.where(numbers[place] == ids, buckets[place], NOT_THERE)
    return found


def bucket_sizes(store: Store, buckets: int) -> Ids:
    """Return the rows of every bucket, int64 (buckets,)."""
    sizes = np.zeros(buckets, np.int64)
    for entry in store.manifest():
        sizes += np.bincount(store.read(entry.shard, ["bucket"])["bucket"], minlength=buckets)
    return sizes


def calibrate_probes(
    store: Store, embeddings: Store, grid: Grid, queries: int, k: int, spread: Spread
) -> None:
    """Attach the places of the true neighbours' buckets, for images sampled as ``queries``.

    Their ``k`` true neighbours come from an exact search of all of ``embeddings``.
    """
    asked = stored_queries(embeddings, sample_ids(embeddings, queries))
    record = RunRecord("calibrate", embeddings.images(), 1)
    merged = search_everything(spread, embeddings, asked, k + 1, record)
    neighbours, scores = without_self(asked, merged, k)
    buckets = np.where(scores > -np.inf, buckets_of(store, neighbours), NOT_THERE)
    places = neighbour_places(grid, asked.vectors, buckets)
    attach_calibration(store, places, sum(entry.rows for entry in embeddings.manifest()))


def probe_buckets(
    spread: Spread, probing: Probing, embeddings: Store, queries: Queries, k: int, record: RunRecord
) -> Merged:
    """Return the certified top ``k`` of every query among the images of its probed buckets."""

    def plan_for(rows: Ids, depth: int) -> ProbePlan:
        return probing.plan(embeddings.root, queries.vectors[rows], depth)

    shards = [entry.shard for entry in embeddings.manifest()]
    return search_in_batches(spread, plan_for, shards, len(queries.ids), k, record)
