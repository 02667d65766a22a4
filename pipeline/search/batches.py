"""An exact search of many queries over all shards, a batch of queries at a time."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.embedding.kept_loss import K, precision_loss
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import Merged, search_certified
from pipeline.search.passing import Passing
from pipeline.search.queries import Queries
from pipeline.search.shard_searcher import SearchPlan, read_part

QUERIES_AT_ONCE = 1024

# Of one core, about: enough to tell a search of seconds from one of minutes.
BYTES_A_SECOND, PRODUCTS_A_SECOND = 1e9, 1e10

PlanFor = Callable[[Ids, int], ShardPlan]


def search_in_batches(
    spread: Spread,
    plan_for: PlanFor,
    shards: Sequence[int],
    queries: int,
    k: int,
    record: RunRecord,
    told: Callable[[pa.Table, Ids, int], None] | None = None,
) -> Merged:
    """Return the certified top ``k`` of each of ``queries``, asked QUERIES_AT_ONCE at a time.

    ``plan_for(rows, depth)`` is the plan that gives each shard's ``depth`` best for the queries
    numbered ``rows``. ``told(answer, rows, depth)`` hears every shard's answer. Merging, which more
    workers do not speed up, is timed in ``record``.
    """

    def ask(rows: Ids, depth: int) -> Iterator[ShardTopK]:
        for answer in spread(plan_for(rows, depth), shards):
            if told is not None:
                told(answer, rows, depth)
            with record.stage("merge on the driver, meanwhile"):
                yield read_part(answer)

    parts = []
    for start in range(0, queries, QUERIES_AT_ONCE):
        chosen = np.arange(start, min(start + QUERIES_AT_ONCE, queries))

        def ask_chosen(rows: Ids, depth: int, chosen: Ids = chosen) -> Iterator[ShardTopK]:
            return ask(chosen[rows], depth)

        parts.append(search_certified(ask_chosen, len(chosen), k))
    return Merged(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.shards for part in parts]),
        np.concatenate([part.certified for part in parts]),
    )


def seconds_of_search(numbers: int, queries: int) -> float:
    """Return about how long one process takes to read so many f32 and compare them with queries."""
    return 4 * numbers / BYTES_A_SECOND + numbers * queries / PRODUCTS_A_SECOND


def search_everything(
    spread: Spread,
    store: Store,
    queries: Queries,
    k: int,
    record: RunRecord,
    passing: Passing | None = None,
) -> Merged:
    """Return the certified top ``k`` of every query among the images of ``store`` that pass."""

    def plan_for(rows: Ids, depth: int) -> SearchPlan:
        return SearchPlan(store.root, queries.vectors[rows], depth, passing)

    shards = passing.shards if passing else [entry.shard for entry in store.manifest()]
    return search_in_batches(spread, plan_for, shards, len(queries.ids), k, record)


def exact_loss(store: Store, passing: Passing | None = None) -> str:
    """Return what an exact search of ``store`` lost, in a sentence that says what it is exact over.

    Vectors of fewer bits have other neighbours than those of more; a search knows only its own.
    passing: the images compared, where not all are.
    """
    if passing and not passing.images:
        return "no image passes, so none was compared"
    made, loss = store.identity, precision_loss(store)
    told = "precision" in made  # not of made vectors
    over = f"the {made['precision']} vectors of {made['model']}" if told else "its vectors"
    if loss:
        over += f", whose {K} nearest are {loss.recall:.3f} of f32's on {loss.images} of its images"
    every = f"each of the {passing.images:,} images that pass" if passing else "every image"
    return f"exact: {every} was compared, nothing is lost against brute force over {over}"
