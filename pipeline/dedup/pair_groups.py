"""Pairs between groups of identical images, which stand for all pairs without listing them.

Images whose f32 vectors have the same bits are one group. They have the same partners, with the
same scores, so a pair of groups is a pair of each image of one with each of the other: n identical
images are n rows, not n (n - 1) / 2. An image that is identical to no other is a group of one.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# identical false: two images that stand for their groups. identical true: a, which stands for the
# group, and b, a further image of it; the score may be below the similarity by f32 rounding.
PAIRS = pa.schema(
    [("a", pa.int64()), ("b", pa.int64()), ("score", pa.float64()), ("identical", pa.bool_())]
)
NOBODY = np.iinfo(np.int64).max


def gather_groups(joined: pa.Table, there: np.ndarray[Any, Any]) -> pa.Table:
    """Return PAIRS of the images ``there`` int64 (n,), by a, then b, from those of all parts.

    Parts may know a group by different images, some of which are there no more: in the result the
    lowest id that is there stands for it.
    """
    a, b, scores, identical = (joined[name].to_numpy() for name in PAIRS.names)
    ids = np.unique(np.concatenate([a, b]))
    left, right = np.searchsorted(ids, a), np.searchsorted(ids, b)
    group = connected(left[identical], right[identical], len(ids))
    alive = np.isin(ids, there)
    stands = np.full(len(ids), NOBODY)
    np.minimum.at(stands, group[alive], ids[alive])
    one, other = stands[group[left]], stands[group[right]]
    paired = ~identical & (one != NOBODY) & (other != NOBODY)
    within = np.zeros(len(ids))
    within[group[left[identical]]] = scores[identical]
    further = alive & (ids != stands[group])
    return pairs_table(
        np.concatenate([np.minimum(one, other)[paired], stands[group[further]]]),
        np.concatenate([np.maximum(one, other)[paired], ids[further]]),
        np.concatenate([scores[paired], within[group[further]]]),
        np.repeat([False, True], [paired.sum(), further.sum()]),
    )


def connected(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, Any]:
    """Return the number of the connected component, int (count,), that each of ``count`` is in."""
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    labels: np.ndarray[Any, Any] = connected_components(graph, directed=False)[1]
    return labels


def pairs_table(
    a: np.ndarray[Any, Any],
    b: np.ndarray[Any, Any],
    scores: np.ndarray[Any, Any],
    identical: np.ndarray[Any, Any],
) -> pa.Table:
    """Return PAIRS of columns (p,), by a, then b."""
    order = np.lexsort((b, a))
    columns = (a[order], b[order], scores[order], identical[order])
    return pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS)


@dataclass(frozen=True)
class PairGroups:
    """Pairs of groups; where both are one group, the pairs of different images within it."""

    ids: np.ndarray[Any, Any]  # int64 (n,), ascending: all images in a pair or identical to another
    group: np.ndarray[Any, Any]  # int64 (n,): the number of each image's group
    one: np.ndarray[Any, Any]  # int64 (p,): numbers of groups
    other: np.ndarray[Any, Any]  # int64 (p,)
    scores: np.ndarray[Any, Any]  # float64 (p,)

    @cached_property
    def sizes(self) -> np.ndarray[Any, Any]:
        """Images of each group, int64 (g,)."""
        return np.bincount(self.group)

    @property
    def identical_images(self) -> int:
        """How many images are identical to another."""
        return int(self.sizes[self.sizes > 1].sum())

    @cached_property
    def first(self) -> np.ndarray[Any, Any]:
        """The lowest id of each group, int64 (g,)."""
        return self.ids[np.unique(self.group, return_index=True)[1]]

    @cached_property
    def counts(self) -> np.ndarray[Any, Any]:
        """Pairs of images that each pair of groups stands for, int64 (p,)."""
        return pairs_between(self.sizes, self.one, self.other)

    def at_least(self, similarity: float) -> "PairGroups":
        """Return the pairs with a score of ``similarity`` and above; no image is left out."""
        return self._some(self.scores >= similarity)

    def among(self, ids: np.ndarray[Any, Any]) -> "PairGroups":
        """Return the pairs between the groups that ``ids`` int64 (m,) are of."""
        mine = np.zeros(len(self.sizes), np.bool_)
        mine[self.group[np.isin(self.ids, ids)]] = True
        return self._some(mine[self.one] & mine[self.other])

    def _some(self, rows: np.ndarray[Any, Any]) -> "PairGroups":
        one, other, scores = self.one[rows], self.other[rows], self.scores[rows]
        return replace(self, one=one, other=other, scores=scores)

    def groups_of(self, ids: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        """Return for each of ``ids`` int64 (m,) its group's lowest id and size, int64 (m,)."""
        lowest, sizes = ids.copy(), np.ones(len(ids), np.int64)
        known = np.isin(ids, self.ids)
        group = self.group[np.searchsorted(self.ids, ids[known])]
        lowest[known], sizes[known] = self.first[group], self.sizes[group]
        return lowest, sizes


def pairs_between(
    counts: np.ndarray[Any, Any], one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return the pairs (p,) of counts[one] things with counts[other] others; within, if the same.

    counts int64 (g,); one, other int64 (p,).
    """
    within = counts[one] * (counts[one] - 1) // 2
    pairs: np.ndarray[Any, Any] = np.where(one == other, within, counts[one] * counts[other])
    return pairs


def pair_groups(pairs: pa.Table, similarity: float) -> PairGroups:
    """Return the groups of PAIRS as gathered; identical images are pairs from ``similarity``."""
    a, b, scores, identical = (pairs[name].to_numpy() for name in PAIRS.names)
    ids = np.unique(np.concatenate([a, b]))
    left, right = np.searchsorted(ids, a), np.searchsorted(ids, b)
    stands = np.arange(len(ids))
    stands[right[identical]] = left[identical]
    group = np.unique(stands, return_inverse=True)[1]
    several, row = np.unique(group[left[identical]], return_index=True)
    within = scores[identical][row]
    own = several[within >= similarity]
    return PairGroups(
        ids,
        group,
        np.concatenate([group[left[~identical]], own]),
        np.concatenate([group[right[~identical]], own]),
        np.concatenate([scores[~identical], within[within >= similarity]]),
    )


def every_pair(pairs: PairGroups) -> pa.Table:
    """Return PAIRS of every two images, by a, then b; quadratic, so for few of them."""
    order = np.argsort(pairs.group, kind="stable")
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
