"""Pairs between sets of identical images, which stand for all pairs without listing them.

Images whose f32 vectors have the same bits are one set. They have the same partners, with the same
scores, so a pair of sets is a pair of each image of one with each of the other: n identical images
are n rows, not n (n - 1) / 2. An image that is identical to no other is a set of one.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores

# identical false: two images that stand for their sets. identical true: a, which stands for its
# set, and b, a further image of it, with a score of 1.
PAIRS = pa.schema(
    [("a", pa.int64()), ("b", pa.int64()), ("score", pa.float64()), ("identical", pa.bool_())]
)


def unite_sets(joined: pa.Table, there: Ids) -> pa.Table:
    """Return PAIRS of the images ``there`` int64 (n,), by a, then b, from those of all parts.

    Parts may know a set by different images, some of which are there no more: in the result the
    lowest id that is there stands for it.
    """
    a, b, scores, identical = (joined[name].to_numpy() for name in PAIRS.names)
    ids = np.unique(np.concatenate([a, b]))
    left, right = np.searchsorted(ids, a), np.searchsorted(ids, b)
    set_of = connected(left[identical], right[identical], len(ids))
    alive = np.isin(ids, there)
    sets, first = np.unique(set_of[alive], return_index=True)  # ids ascend: the first is lowest
    peopled, stands = np.isin(set_of, sets), np.zeros(len(ids), np.int64)
    stands[sets] = ids[alive][first]
    one, other = stands[set_of[left]], stands[set_of[right]]
    paired = ~identical & peopled[left] & peopled[right]
    further = alive & (ids != stands[set_of])
    return pairs_table(
        np.concatenate([np.minimum(one, other)[paired], stands[set_of[further]]]),
        np.concatenate([np.maximum(one, other)[paired], ids[further]]),
        np.concatenate([scores[paired], np.ones(further.sum())]),
        np.repeat([False, True], [paired.sum(), further.sum()]),
    )


def connected(one: Ids, other: Ids, count: int) -> Numbers:
    """Return for each of ``count`` the number of its connected component, int32 (count,)."""
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    labels: Numbers = connected_components(graph, directed=False)[1]
    return labels


def pairs_table(a: Ids, b: Ids, scores: Scores, identical: Mask) -> pa.Table:
    """Return PAIRS of columns (p,), by a, then b."""
    order = np.lexsort((b, a))
    columns = (a[order], b[order], scores[order], identical[order])
    return pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS)


@dataclass(frozen=True)
class SetPairs:
    """Pairs of sets; where both are one set, the pairs of different images within it."""

    ids: Ids  # (n,), ascending: all images in a pair or identical to another
    set_of: Ids  # (n,): the number of each image's set
    one: Ids  # (p,): numbers of sets
    other: Ids  # (p,)
    scores: Scores  # (p,)
    reference: Ids | None = None  # (r,): only pairs with one of these and one that is not count

    @cached_property
    def sizes(self) -> Ids:
        """Images of each set, int64 (s,)."""
        return np.bincount(self.set_of)

    @property
    def identical_images(self) -> int:
        """How many images are identical to another."""
        return int(self.sizes[self.sizes > 1].sum())

    @cached_property
    def first(self) -> Ids:
        """The lowest id of each set, int64 (s,)."""
        return self.ids[np.unique(self.set_of, return_index=True)[1]]

    @property
    def further(self) -> Ids:
        """The images for which another one stands, int64 (f,)."""
        further: Ids = self.ids[self.ids != self.first[self.set_of]]
        return further

    @cached_property
    def counts(self) -> Ids:
        """Pairs of images that each pair of sets stands for, int64 (p,)."""
        return pairs_between(self.sizes, self.one, self.other)

    @property
    def within(self) -> int:
        """How many pairs of images are identical."""
        return int(self.counts[self.one == self.other].sum())

    def at_least(self, similarity: float) -> "SetPairs":
        """Return the pairs with a score of ``similarity`` and above; no image is left out."""
        return self.some(self.scores >= similarity)

    def among(self, ids: Ids) -> "SetPairs":
        """Return the pairs of sets that hold some of ``ids`` int64 (m,), and of these alone."""
        mine = np.isin(self.ids, ids)
        sets, set_of = np.unique(self.set_of[mine], return_inverse=True)
        kept = self.some(np.isin(self.one, sets) & np.isin(self.other, sets))
        one, other = (np.searchsorted(sets, ends) for ends in (kept.one, kept.other))
        return SetPairs(self.ids[mine], set_of, one, other, kept.scores, self.reference)

    def some(self, rows: Mask) -> "SetPairs":
        """Return the pairs chosen, bool (p,); no image is left out."""
        one, other, scores = self.one[rows], self.other[rows], self.scores[rows]
        return replace(self, one=one, other=other, scores=scores)

    def count_between(self, a: Ids, b: Ids) -> Mask:
        """Return bool (m,): whether a pair of a[i] and b[i], ids, would count."""
        if self.reference is None:
            return np.ones(len(a), np.bool_)
        apart: Mask = np.isin(a, self.reference) != np.isin(b, self.reference)
        return apart

    def stand_ins(self, ids: Ids) -> tuple[Ids, Ids]:
        """Return for each of ``ids`` int64 (m,) its set's lowest id and size, int64 (m,)."""
        lowest, sizes = ids.copy(), np.ones(len(ids), np.int64)
        known = np.isin(ids, self.ids)
        mine = self.set_of[np.searchsorted(self.ids, ids[known])]
        lowest[known], sizes[known] = self.first[mine], self.sizes[mine]
        return lowest, sizes


def pairs_between(counts: Ids, one: Ids, other: Ids) -> Ids:
    """Return the pairs (p,) of counts[one] things with counts[other] others; within, if the same.

    counts int64 (s,); one, other int64 (p,).
    """
    within = counts[one] * (counts[one] - 1) // 2
    pairs: Ids = np.where(one == other, within, counts[one] * counts[other])
    return pairs


def set_pairs(pairs: pa.Table) -> SetPairs:
    """Return PAIRS, as united, by sets."""
    a, b, scores, identical = (pairs[name].to_numpy() for name in PAIRS.names)
    ids = np.unique(np.concatenate([a, b]))
    left, right = np.searchsorted(ids, a), np.searchsorted(ids, b)
    stands = np.arange(len(ids))
    stands[right[identical]] = left[identical]
    set_of = np.unique(stands, return_inverse=True)[1]
    own = np.unique(set_of[left[identical]])
    return SetPairs(
        ids,
        set_of,
        np.concatenate([set_of[left[~identical]], own]),
        np.concatenate([set_of[right[~identical]], own]),
        np.concatenate([scores[~identical], np.ones(len(own))]),
    )


def ends_of(one: Ids, other: Ids) -> AnyArray:
    """Return pairs of ids int64 (n,), in either order, as (a, b) with a < b, (n,)."""
    pairs = np.empty(len(one), [("a", np.int64), ("b", np.int64)])
    pairs["a"], pairs["b"] = np.minimum(one, other), np.maximum(one, other)
    return pairs


def rows_of_pairs(pairs: pa.Table, one: Ids, other: Ids) -> Ids:
    """Return the row of PAIRS of each pair of ids, int64 (n,), -1 where there is none."""
    known = ends_of(pairs["a"].to_numpy(), pairs["b"].to_numpy())
    asked = ends_of(one, other)
    if not len(known):
        return np.full(len(asked), -1)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, place, -1)


def across(pairs: SetPairs, reference: Ids) -> SetPairs:
    """Return the pairs between an image of ``reference`` int64 (r,) and one that is none of them.

    A set that has images of both is two sets, and a pair.
    """
    side = np.isin(pairs.ids, reference)
    sides, set_of = np.unique(2 * pairs.set_of + side, return_inverse=True)
    one, other = (np.concatenate([2 * ends, 2 * ends + 1]) for ends in (pairs.one, pairs.other))
    other ^= 1  # the other side
    there = np.isin(one, sides) & np.isin(other, sides)
    # Once each: a pair within a set is met from both of its sides, and parts of two generations
    # may tell of the same two sets, the later one for the images of the other side.
    ends = np.minimum(one, other) * (2 * len(pairs.sizes)) + np.maximum(one, other)
    kept = np.flatnonzero(there)
    kept = kept[np.unique(ends[kept], return_index=True)[1]]
    one, other = (np.searchsorted(sides, ends[kept]) for ends in (one, other))
    scores = np.concatenate([pairs.scores, pairs.scores])[kept]
    return SetPairs(pairs.ids, set_of, one, other, scores, reference)


def as_pairs(pairs: SetPairs) -> pa.Table:
    """Return PAIRS, by a, then b: of those that stand for their sets, and who is in these."""
    one, other = pairs.first[pairs.one], pairs.first[pairs.other]
    paired = np.zeros(len(pairs.sizes), np.bool_)
    paired[pairs.one] = paired[pairs.other] = True
    stands = pairs.first[pairs.set_of]
    further = (pairs.ids != stands) & paired[pairs.set_of]
    between = one != other
    return pairs_table(
        np.concatenate([np.minimum(one, other)[between], stands[further]]),
        np.concatenate([np.maximum(one, other)[between], pairs.ids[further]]),
        np.concatenate([pairs.scores[between], np.ones(further.sum())]),
        np.repeat([False, True], [between.sum(), further.sum()]),
    )


def every_pair(pairs: SetPairs) -> pa.Table:
    """Return PAIRS of every two images, by a, then b; quadratic, so for few of them."""
    order = np.argsort(pairs.set_of, kind="stable")
    sizes = pairs.sizes
    starts = np.cumsum(sizes) - sizes
    wide = sizes[pairs.other]
    count = sizes[pairs.one] * wide
    row = np.repeat(np.arange(len(count)), count)
    one, other = np.divmod(np.arange(len(row)) - (np.cumsum(count) - count)[row], wide[row])
    within = pairs.one[row] == pairs.other[row]
    once = ~within | (one < other)
    row, one, other = row[once], one[once], other[once]
    left = pairs.ids[order[starts[pairs.one[row]] + one]]
    right = pairs.ids[order[starts[pairs.other[row]] + other]]
    a, b = np.minimum(left, right), np.maximum(left, right)
    return pairs_table(a, b, pairs.scores[row], within[once])
