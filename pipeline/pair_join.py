"""All pairs of vectors above a similarity, joined bucket by bucket.

Every vector lies in its few nearest buckets. Two vectors meet in each bucket they share, and the
pair is kept in the lowest of them alone. Blocks of f32 products nominate pairs; each one kept is
verified by the float64 score.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.certified_merge import MARGIN
from pipeline.exact_topk import PAIRS_AT_ONCE, exact_scores

# Products held at once: BLOCK x the rows of a bucket, in f32.
BLOCK = 1024
PAIRS = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("score", pa.float64())])


@dataclass(frozen=True)
class Members:
    """Vectors to be joined, those of earlier generations first."""

    ids: np.ndarray[Any, Any]  # int64 (n,)
    buckets: np.ndarray[Any, Any]  # int32 (n, m): the buckets each lies in
    vectors: np.ndarray[Any, Any]  # f32 (n, d), of unit length
    old: int  # the first ``old`` rows were joined among themselves before


def join_buckets(members: Members, buckets: range, similarity: float) -> pa.Table:
    """Return (a, b, score) of each pair met in ``buckets``, a < b, score >= ``similarity``.

    Pairs of two old members are left out, and so are pairs that share a lower bucket. Memory:
    the members, one block of products, and the pairs.
    """
    found = [_empty()]
    for bucket in buckets:
        rows = np.flatnonzero((members.buckets == bucket).any(axis=1))
        first = int(np.searchsorted(rows, members.old))
        vectors = members.vectors[rows]
        for start in range(first, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            one, other = _near(vectors, start, stop, similarity)
            if len(one):
                found.append(_verified(members, rows[one], rows[other], bucket, similarity))
    pairs = np.concatenate(found)
    order = np.lexsort((pairs["b"], pairs["a"]))
    return pa.table({name: pairs[name][order] for name in PAIRS.names}, schema=PAIRS)


def _near(
    vectors: np.ndarray[Any, Any], start: int, stop: int, similarity: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the rows [start, stop) and the earlier rows whose f32 product may be enough."""
    products = vectors[start:stop] @ vectors[:stop].T
    places = np.flatnonzero(products.reshape(-1) >= np.float32(similarity - MARGIN))
    one, other = np.divmod(places, stop)
    one += start
    earlier = other < one
    return one[earlier], other[earlier]


def _verified(
    members: Members,
    one: np.ndarray[Any, Any],
    other: np.ndarray[Any, Any],
    bucket: int,
    similarity: float,
) -> np.ndarray[Any, Any]:
    lowest = _lowest_shared(members.buckets, one, other) == bucket
    one, other = one[lowest], other[lowest]
    scores = pair_scores(members.vectors, one, other)
    enough = scores >= similarity
    pairs = _empty(int(enough.sum()))
    left, right = members.ids[one[enough]], members.ids[other[enough]]
    pairs["a"], pairs["b"] = np.minimum(left, right), np.maximum(left, right)
    pairs["score"] = scores[enough]
    return pairs


def _lowest_shared(
    buckets: np.ndarray[Any, Any], one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    lowest = np.full(len(one), np.iinfo(np.int32).max, np.int32)
    for column in buckets.T:
        mine = column[one]
        shared = (buckets[other] == mine[:, None]).any(axis=1)
        lowest = np.where(shared, np.minimum(lowest, mine), lowest)
    return lowest


def pair_scores(
    vectors: np.ndarray[Any, Any], one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the float64 scores (p,) of the pairs of rows (one, other), in blocks."""
    parts = [np.empty(0)]
    for start in range(0, len(one), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        parts.append(exact_scores(vectors[one[some]], vectors[other[some]][:, None])[:, 0])
    return np.concatenate(parts)


def _empty(rows: int = 0) -> np.ndarray[Any, Any]:
    return np.empty(rows, [("a", np.int64), ("b", np.int64), ("score", np.float64)])
