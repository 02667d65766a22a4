"""All pairs of vectors above a similarity, joined bucket by bucket.

Every vector lies in its few nearest buckets. Two vectors meet in each bucket they share, and the
pair is kept in the lowest of them alone. Blocks of f32 products nominate pairs; each one kept is
verified by the float64 score. Of vectors with the same bits one is compared and stands for all: a
placeholder that a collection holds n times costs n rows, not n (n - 1) / 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores, Vectors
from pipeline.dedup.identical_sets import PAIRS, pairs_table
from pipeline.search.exact_topk import MARGIN, pair_scores

# Products held at once: BLOCK x the rows of a bucket, in f32.
BLOCK = 1024
SPARE = 4  # more than are asked for, since f32 does not tell near ties apart


@dataclass(frozen=True)
class Members:
    """Vectors to be joined, those of earlier generations first."""

    ids: Ids  # (n,)
    buckets: Numbers  # (n, m): the buckets each lies in
    vectors: Vectors  # (n, d), of unit length
    old: int  # the first ``old`` rows were joined among themselves before
    reference: Mask | None = None  # (n,): only pairs of one of these with one that is not count


def join_buckets(members: Members, buckets: range, similarity: float, nearest: int = 0) -> pa.Table:
    """Return PAIRS met in ``buckets``, a < b, by a, then b: those of ``similarity`` and above.

    And, in each bucket, of each member with its ``nearest`` others, however far.

    Pairs of two old members are left out, and so are pairs that share a lower bucket. With a
    reference a pair of sets is there where one has images of it, the other one others. Memory:
    the members, one block of products, and the pairs.
    """
    stands = standing_for(members)
    compared = _compared(members, stands)
    found = [_identical(members, stands, buckets)]
    for bucket in buckets:
        rows = np.flatnonzero((members.buckets == bucket).any(axis=1) & compared)
        rows, blocks = _met(members, rows)
        vectors = members.vectors[rows]
        for some, others in blocks:
            one, other = _near(vectors, some, others, similarity)
            one, other = stands[rows[one]], stands[rows[other]]
            once = other < one if members.reference is None else other != one
            if once.any():
                met = (one[once], other[once])
                found.append(_verified(members, *met, bucket, similarity))
        if nearest:
            found += _nearest(members, stands, rows, bucket, nearest)
    pairs = np.concatenate(found)
    if nearest or members.reference is not None:
        pairs = np.unique(pairs)  # two sets may each have images of both kinds
    return pairs_table(*(pairs[name] for name in PAIRS.names))


def _compared(members: Members, stands: Ids) -> Mask:
    """Return bool (n,): the first of each set, with a reference the first of each kind in it."""
    sides = stands if members.reference is None else 2 * stands + members.reference
    first = np.zeros(len(stands), np.bool_)
    first[np.unique(sides, return_index=True)[1]] = True
    return first


def _met(members: Members, rows: Ids) -> tuple[Ids, Iterator[tuple[slice, slice]]]:
    """Return ``rows``, with a reference its own last, and blocks of them to compare with others."""
    if members.reference is None:
        first = int(np.searchsorted(rows, members.old))
        return rows, ((some, slice(some.stop)) for some in _blocks(first, len(rows)))
    mine, theirs = (rows[members.reference[rows] == side] for side in (False, True))
    known, before = (int(np.searchsorted(side, members.old)) for side in (mine, theirs))
    rows, first = np.concatenate([mine, theirs]), len(mine)
    added = ((some, slice(first + before, len(rows))) for some in _blocks(0, known))
    new = ((some, slice(first, len(rows))) for some in _blocks(known, first))
    return rows, chain(added, new)


def _blocks(start: int, stop: int) -> Iterator[slice]:
    return (slice(n, min(n + BLOCK, stop)) for n in range(start, stop, BLOCK))


def standing_for(members: Members) -> Ids:
    """Return for each member the first one of the same bits and buckets, int64 (n,).

    An old member is before the new ones, so a new member that is identical to an old one is not
    compared again with what the old one was compared with.
    """
    vectors = np.ascontiguousarray(members.vectors)
    # As bytes, vectors have an order in which the same bits are neighbours.
    keys = vectors.view(np.dtype((np.void, vectors.itemsize * vectors.shape[1])))[:, 0]
    order = np.lexsort((keys, *members.buckets.T))
    before, after = order[:-1], order[1:]
    other = (members.buckets[before] != members.buckets[after]).any(axis=1)
    for start in range(0, len(other), BLOCK):
        some = slice(start, start + BLOCK)
        differ = vectors.view(np.uint32)[before[some]] != vectors.view(np.uint32)[after[some]]
        other[some] |= differ.any(axis=1)
    begins = np.flatnonzero(np.concatenate([[True], other])[: len(order)])
    stands = np.empty(len(order), np.int64)
    stands[order] = np.repeat(order[begins], np.diff(begins, append=len(order)))
    return stands


def _identical(members: Members, stands: Ids, buckets: range) -> AnyArray:
    """Return new members beside those that stand for them, where their lowest bucket is ours."""
    lowest = members.buckets.min(axis=1, initial=np.iinfo(np.int32).max)
    ours = (lowest >= buckets.start) & (lowest < buckets.stop)
    rows = np.arange(len(stands))
    further = np.flatnonzero(ours & (stands != rows) & (rows >= members.old))
    # Of f32 vectors the product with themselves is rarely 1 to the bit, but they are the same.
    same = np.ones(len(further))
    return _rows(members.ids[stands[further]], members.ids[further], same, True)


def _near(vectors: Vectors, some: slice, others: slice, similarity: float) -> tuple[Ids, Ids]:
    """Return those of the rows ``some``, and of ``others``, whose f32 product may be enough."""
    products = vectors[some] @ vectors[others].T
    places = np.flatnonzero(products.reshape(-1) >= np.float32(similarity - MARGIN))
    one, other = np.divmod(places, max(1, products.shape[1]))
    return one + some.start, other + (others.start or 0)


def _nearest(
    members: Members, stands: Ids, rows: Ids, bucket: int, nearest: int
) -> Iterator[AnyArray]:
    """Yield each of ``rows`` with those of them that are nearest and that it is to be paired with.

    Products in f32 choose a few more, and float64 scores among these, so that ties go by the id.
    """
    vectors, ids = members.vectors[rows], members.ids[rows]
    mine, theirs = _sides(members, rows)
    count = theirs.stop - theirs.start
    few = min(nearest + SPARE, count)
    for some in _blocks(mine.start, mine.stop if count else mine.start):
        products = vectors[some] @ vectors[theirs].T
        products[~_paired(members, rows, some, theirs)] = -np.inf
        chosen = np.argpartition(products, count - few, axis=1)[:, count - few :]
        one, place = np.nonzero(np.isfinite(np.take_along_axis(products, chosen, axis=1)))
        one, other = one + some.start, chosen[one, place] + theirs.start
        scores = pair_scores(vectors, one, vectors, other)
        order = np.lexsort((ids[other], -scores, one))
        one, other = one[order], other[order]
        ranks = np.arange(len(one)) - np.searchsorted(one, one)
        one, other = stands[rows[one[ranks < nearest]]], stands[rows[other[ranks < nearest]]]
        yield _verified(members, one[one != other], other[one != other], bucket, -1.0)


def _sides(members: Members, rows: Ids) -> tuple[slice, slice]:
    """Return which of ``rows``, as ``_met`` orders them, are to be paired with which."""
    if members.reference is None:
        return slice(0, len(rows)), slice(0, len(rows))
    first = len(rows) - int(members.reference[rows].sum())
    return slice(0, first), slice(first, len(rows))


def _paired(members: Members, rows: Ids, some: slice, others: slice) -> Mask:
    """Return bool (some, others): which of the rows may be paired with which."""
    old = rows < members.old
    paired: Mask = ~(old[some, None] & old[None, others])
    if members.reference is None:
        paired[np.arange(len(paired)), np.arange(len(paired)) + some.start] = False
    return paired


def _verified(members: Members, one: Ids, other: Ids, bucket: int, similarity: float) -> AnyArray:
    lowest = _lowest_shared(members.buckets, one, other) == bucket
    one, other = one[lowest], other[lowest]
    scores = pair_scores(members.vectors, one, members.vectors, other)
    enough = scores >= similarity
    left, right = members.ids[one[enough]], members.ids[other[enough]]
    return _rows(left, right, scores[enough], False)


def _lowest_shared(buckets: Numbers, one: Ids, other: Ids) -> Numbers:
    lowest = np.full(len(one), np.iinfo(np.int32).max, np.int32)
    for column in buckets.T:
        mine = column[one]
        shared = (buckets[other] == mine[:, None]).any(axis=1)
        lowest = np.where(shared, np.minimum(lowest, mine), lowest)
    return lowest


def _rows(left: Ids, right: Ids, scores: Scores, identical: bool) -> AnyArray:
    kinds = [("a", np.int64), ("b", np.int64), ("score", np.float64), ("identical", np.bool_)]
    pairs = np.empty(len(left), kinds)
    pairs["a"], pairs["b"] = np.minimum(left, right), np.maximum(left, right)
    pairs["score"], pairs["identical"] = scores, identical
    return pairs
