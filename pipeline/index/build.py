"""Building an index: shards sorted by partition, parts gathered, and the recall of every work."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from pipeline.core.arrays import Ids
from pipeline.core.folder import remove_folder
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.index.bucket_rows import rows_name
from pipeline.index.coarse_codes import CoarseCoder
from pipeline.index.evidence import (
    NOT_THERE,
    Evidence,
    attach_evidence,
    neighbour_places,
    of_planning,
)
from pipeline.index.gather_part import GatherPlan
from pipeline.index.grid import Grid
from pipeline.index.nominate import coarse_ranks
from pipeline.index.partitions import Partitions
from pipeline.index.rounds import Searched
from pipeline.index.training import trained_shards
from pipeline.index.trials import Sampled, fitted, tried
from pipeline.search.answers import without_self
from pipeline.search.batches import search_everything
from pipeline.search.queries import sample_ids, stored_queries

SORTED = "partitions"  # the folder of sorted shards in an index
PARTITION_ROWS = 50_000  # vectors of a part, about: a file, and what a worker holds


def index_partitions(store: Store, embeddings: Store, grid: Grid) -> Partitions:
    """Return the partitions of the index ``store``, begun with ``grid``, with all shards."""
    begun = Partitions(grid, min(grid.buckets, ceil(embeddings.rows() / PARTITION_ROWS)))
    partitions = Partitions.kept(store) or begun
    partitions = partitions.with_shards(len(embeddings.manifest()))
    partitions.keep(store)
    return partitions


def sorted_shards(store: Store) -> Store:
    """Return the store in which shards wait, sorted by partition, for their parts of ``store``."""
    return Store.create(store.root / SORTED, "partitions", store.identity)


def gather_parts(
    spread: Spread, store: Store, by_partition: Store, partitions: Partitions, pending: list[int]
) -> None:
    """Gather the parts ``pending`` into ``store``."""
    plan = GatherPlan(by_partition.root, store.root, partitions, CoarseCoder.required(store))
    for _ in spread(plan, pending):
        pass


def drop_sorted(store: Store) -> None:
    """Remove what ``sorted_shards`` gave, also what a run left that ended once all was gathered."""
    remove_folder(store.root / SORTED)


def bucket_sizes(store: Store, buckets: int) -> Ids:
    """Return the rows of every bucket, int64 (buckets,)."""
    sizes = np.zeros(buckets, np.int64)
    for entry in store.entries():
        table = store.read_whole(entry.shard)
        sizes[table["bucket"].to_numpy()] += table["rows"].to_numpy()
    return sizes


def stored_bytes(store: Store, partitions: Partitions) -> int:
    """Return the bytes of all rows kept."""
    paths = (store.attachments.path(rows_name(part)) for part in range(partitions.parts))
    return sum(path.stat().st_size for path in paths)


def calibrate(
    store: Store,
    embeddings: Store,
    partitions: Partitions,
    queries: int,
    k: int,
    confidence: float,
    spread: Spread,
) -> None:
    """Attach where the true neighbours of images sampled as ``queries`` lie.

    As many again are sampled of the images added since the grid was trained. Their ``k`` true
    neighbours come from an exact search of all of ``embeddings``.
    """
    groups = _sampled(store, embeddings, queries)
    asked = stored_queries(embeddings, [number for group in groups for number in group])
    record = RunRecord("calibrate", embeddings.images(), 1)
    merged = search_everything(spread, embeddings, asked, k + 1, record)
    neighbours, scores = without_self(asked, merged, k)
    there = scores > -np.inf
    known, place = np.unique(neighbours[there], return_inverse=True)
    vectors = stored_queries(embeddings, known.tolist()).vectors
    found = np.zeros((*neighbours.shape, asked.vectors.shape[1]), np.float32)
    found[there] = vectors[place]
    buckets = np.full(neighbours.shape, NOT_THERE)
    buckets[there] = partitions.grid.nearest(vectors, 1)[place, 0]
    places = neighbour_places(partitions.grid, asked.vectors, buckets)
    ranks = coarse_ranks(spread, store, range(partitions.parts), asked.vectors, found)
    nearest, there_are = scores.max(axis=1), (embeddings.rows(), embeddings.images())
    ends = np.cumsum([len(group) for group in groups])
    mine = [slice(end - len(group), end) for group, end in zip(groups, ends, strict=True)]
    evidence = [
        Evidence(places[some], ranks[some], nearest[some], *there_are, added)
        for some, added in zip(mine, (False, True), strict=False)
    ]
    searched = Searched(spread, store, embeddings, partitions, CoarseCoder.required(store), k + 1)
    sampled = Sampled(asked.ids, asked.vectors, neighbours, found, buckets)
    parts = [sampled.part(some) for some in mine]
    attach_evidence(store, _with_trials(searched, evidence, parts), confidence)


def _with_trials(
    searched: Searched, evidence: Sequence[Evidence], sampled: Sequence[Sampled]
) -> list[Evidence]:
    """Return ``evidence`` with what searches in rounds find of each group's neighbours.

    The gains that these go by are fitted to queries that plan, and kept, with the levels tried.
    """
    choosing = sampled[0].part(slice(0, None, 2))
    rows = bucket_sizes(searched.index, searched.partitions.grid.buckets)
    made = fitted(searched, choosing.part(of_planning(len(choosing.ids))), rows)
    if made is None:
        return list(evidence)
    gains, levels = made
    gains.attach(searched.index)
    levels.attach(searched.index)
    return [
        replace(group, trials=tried(searched, mine, gains, levels))
        for group, mine in zip(evidence, sampled, strict=True)
    ]


def _sampled(store: Store, embeddings: Store, queries: int) -> list[list[int]]:
    """Return ids of the images the grid was trained on, and of those added since, if any."""
    shards = [entry.shard for entry in embeddings.manifest()]
    first = trained_shards(store)
    whole = sample_ids(embeddings, queries, shards[:first])
    added = sample_ids(embeddings, queries, shards[first:])
    # One alone is no evidence: half of them choose, half measure.
    return [whole, added] if len(added) > 1 else [whole]
