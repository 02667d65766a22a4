"""The recall that a plan really gives, against neighbours found by brute force."""

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import Calibration
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.planner import CascadePlan, thresholds
from pipeline.core.arrays import Ids, Mask, Vectors
from pipeline.core.tables import embedding_matrix, places


def passing_pairs(
    calibration: Calibration,
    plan: CascadePlan,
    neighbours: Neighbours,
    features: pa.Table,
    query_ids: Ids,
    wanted_ids: Ids,
) -> Mask:
    """Return bool (p,): whether image wanted_ids[i] passes all stages for query query_ids[i].

    features: id and all features of all of them.
    """
    known = features["id"].to_numpy()
    asking, wanted = (
        features.take(pa.array(places(ids, known))) for ids in (query_ids, wanted_ids)
    )
    passed = np.ones(len(query_ids), np.bool_)
    category = calibration.category(embedding_matrix(asking["embedding"]), neighbours)
    for number, stage in enumerate(plan.stages):
        codes = calibration.filters.query_codes(stage, asking, neighbours)
        known = codes @ calibration.filters.codes(stage, calibration.sample).T
        limits = thresholds(known, plan.keeps(number, category))
        passed &= (codes * calibration.filters.codes(stage, wanted)).sum(axis=1) >= limits
    return passed


def true_pairs(
    ids: Ids,
    vectors: Vectors,
    group: Ids,
    queries: Ids,
    neighbours: Neighbours,
    k: int,
) -> tuple[Ids, Ids]:
    """Return ids (p,) and (p,) of queries and their true neighbours, by brute force.

    ids, vectors, group: int64 (n,), f32 (n, d), int64 (n,) of the whole collection; queries: rows
    that ask. Semantic neighbours are the k nearest of other groups; copies are those of a query's
    own group among its k nearest of all.
    """
    pairs: list[tuple[int, int]] = []
    for row in queries:
        mates = group == group[row]
        apart = mates if neighbours == "semantic" else np.arange(len(ids)) == row
        scores = np.where(apart, -np.inf, vectors @ vectors[row])
        found = np.argsort(-scores, kind="stable")[:k]
        if neighbours == "copies":
            found = found[mates[found]]
        pairs += [(ids[row], ids[other]) for other in found]
    asked, wanted = np.array(pairs, np.int64).reshape(-1, 2).T
    return asked, wanted
