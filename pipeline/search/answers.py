"""The answer of a search as tables: results with their keys, and the recall of known copies."""

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Scores
from pipeline.core.row_map import rows_with
from pipeline.core.store import Store
from pipeline.search.condition import Condition
from pipeline.search.copy_recall import CopyRecall, copy_recall
from pipeline.search.merge import Merged
from pipeline.search.queries import Queries, find_images


def without_self(queries: Queries, merged: Merged, k: int) -> tuple[Ids, Scores]:
    """Drop each query itself from its k + 1 best, or the last of them; return (q, k) arrays.

    As in ``merged``, no image is where the score is -inf.
    """
    own = (merged.ids == queries.ids[:, None]) & (merged.scores > -np.inf)
    own &= queries.stored[:, None]
    own[~own.any(axis=1), -1] = True
    return merged.ids[~own].reshape(-1, k), merged.scores[~own].reshape(-1, k)


def result_table(
    store: Store,
    queries: Queries,
    ids: Ids,
    scores: Scores,
    shards: Ids | None = None,
    least: float = -np.inf,
) -> pa.Table:
    """Return (query, query_id, rank, id, key, score), a row a result, best first.

    query_id is null where the query is not in the store. shards: those that hold the results,
    where that is known; else all are looked through. Those that score below ``least`` are left out.
    """
    there = (scores > -np.inf) & (scores >= least)
    rows, ranks = np.nonzero(there)
    homes = None if shards is None else frozenset(np.unique(shards).tolist())
    found = find_images(store, ids[there].tolist(), ["id", "key"], homes)
    keys = dict(zip(found["id"].to_pylist(), found["key"].to_pylist(), strict=True))
    return pa.table(
        {
            "query": [queries.keys[row] for row in rows],
            "query_id": pa.array(queries.ids[rows], mask=~queries.stored[rows]),
            "rank": ranks + 1,
            "id": ids[there],
            "key": [keys[number] for number in ids[there].tolist()],
            "score": scores[there],
        }
    )


def known_copies(
    store: Store, queries: Queries, ids: Ids, scores: Scores, condition: Condition | None = None
) -> list[CopyRecall]:
    """Return the recall of known copies; empty where the store does not know its scenes.

    condition: of the images that could be found, where not all could.
    """
    inside = queries.stored
    if not inside.any() or not {"scene", "transform"} <= set(store.columns()):
        return []
    asked = pa.array(queries.ids[inside])
    scenes = pa.compute.unique(rows_with(store, "id", asked, ["scene"])["scene"])
    columns = ["id", "scene", "transform", *(condition.columns if condition else ())]
    truth = rows_with(store, "scene", scenes, list(dict.fromkeys(columns)))
    passes = condition.holds(truth) if condition else np.ones(truth.num_rows, np.bool_)
    truth = truth.select(columns[:3]).append_column("passes", pa.array(passes))
    there = scores[inside] > -np.inf
    return copy_recall(queries.ids[inside], ids[inside], there, truth)


def recall_table(recall: list[CopyRecall]) -> pa.Table:
    """Return (transform, k, found, known), a row a transform."""
    names = ("transform", "k", "found", "known")
    types = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    schema = pa.schema(zip(names, types, strict=True))
    return pa.Table.from_pylist([{n: getattr(r, n) for n in names} for r in recall], schema)
