"""The answer of a search as tables: results with their keys, and the recall of known copies."""

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Scores
from pipeline.core.ids import NO_ID
from pipeline.core.store import Store
from pipeline.search.copy_recall import CopyRecall, copy_recall
from pipeline.search.merge import Merged
from pipeline.search.queries import Queries, find_images


def without_self(query_ids: Ids, merged: Merged, k: int) -> tuple[Ids, Scores]:
    """Drop each query's own id from its k + 1 best, or the last of them; return (q, k) arrays."""
    own = merged.ids == query_ids[:, None]
    own &= query_ids[:, None] != NO_ID
    own[~own.any(axis=1), -1] = True
    return merged.ids[~own].reshape(-1, k), merged.scores[~own].reshape(-1, k)


def result_table(store: Store, queries: Queries, ids: Ids, scores: Scores) -> pa.Table:
    """Return (query, query_id, rank, id, key, score), a row a result, best first."""
    there = ids >= 0
    rows, ranks = np.nonzero(there)
    found = find_images(store, ids[there].tolist(), ["id", "key"])
    keys = dict(zip(found["id"].to_pylist(), found["key"].to_pylist(), strict=True))
    return pa.table(
        {
            "query": [queries.keys[row] for row in rows],
            "query_id": queries.ids[rows],
            "rank": ranks + 1,
            "id": ids[there],
            "key": [keys[number] for number in ids[there].tolist()],
            "score": scores[there],
        }
    )


def known_copies(store: Store, query_ids: Ids, ids: Ids) -> list[CopyRecall]:
    """Return the recall of known copies; empty where the store does not know its scenes."""
    inside = query_ids != NO_ID
    manifest = store.manifest()
    if not inside.any() or not {"scene", "transform"} <= set(store.columns()):
        return []
    parts = [store.read(entry.shard, ["id", "scene", "transform"]) for entry in manifest]
    truth = pa.concat_tables(parts)
    mine = pa.compute.is_in(truth["id"], value_set=pa.array(query_ids[inside]))
    scenes = pa.compute.unique(truth.filter(mine)["scene"])
    truth = truth.filter(pa.compute.is_in(truth["scene"], value_set=scenes))
    return copy_recall(query_ids[inside], ids[inside], truth)


def recall_table(recall: list[CopyRecall]) -> pa.Table:
    """Return (transform, k, found, known), a row a transform."""
    names = ("transform", "k", "found", "known")
    types = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    schema = pa.schema(zip(names, types, strict=True))
    return pa.Table.from_pylist([{n: getattr(r, n) for n in names} for r in recall], schema)
