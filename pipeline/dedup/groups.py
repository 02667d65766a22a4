"""Groups of near-duplicates, and the one image of each that is kept.

The survivor is the first by ``keeping_order``. ``survivor`` is the strict rule: images are taken in
that order, and each one not yet taken takes the untaken images that are paired with itself, so
every member is similar to its survivor and chains end.
``components`` takes all that pairs connect.

Identical images share all partners, so a set of them is taken as one, in the place of its first.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array

from pipeline.core.arrays import Ids, Mask
from pipeline.core.tables import places
from pipeline.dedup.identical_sets import SetPairs, connected
from pipeline.dedup.keeping import keeping_order

Rule = Literal["survivor", "components"]
Apart = tuple[Ids, Ids] | None  # pairs of ids int64 (m,) that no group may hold
GROUPS = pa.schema(
    [
        ("group", pa.int64()),  # the survivor's id
        ("id", pa.int64()),
        ("survivor", pa.bool_()),
        ("pixels", pa.int64()),
    ]
)


def group_pairs(pairs: SetPairs, images: pa.Table, rule: Rule, apart: Apart = None) -> pa.Table:
    """Return GROUPS of all images in a pair, by group, then in the order of being kept.

    ``images`` has the id, the pixels and what ``keeping_order`` takes of every image at least in
    ``pairs``. The survivor of a group comes first. Of a pair that is kept ``apart`` the image that
    would be kept later leaves the group.
    """
    found = images.take(pa.array(places(pairs.ids, images["id"].to_numpy())))
    order = keeping_order(found)  # who survives before whom
    pixels = found["pixels"].to_numpy()
    members = pairs.ids[order]
    owner = _owners(pairs, pairs.set_of[order], rule)
    if apart:
        owner = _set_apart(owner, members, *apart)
    inside = _not_alone(owner)
    ids, group, kept = members[inside], members[owner][inside], pixels[order][inside]
    survivor = ids == group
    rows = np.argsort(group, kind="stable")
    columns = (group[rows], ids[rows], survivor[rows], kept[rows])
    return pa.table(dict(zip(GROUPS.names, columns, strict=True)), schema=GROUPS)


def to_drop(groups: pa.Table) -> pa.Table:
    """Return the rows of GROUPS of images that are not kept.

    Of files of several ``pages`` the first alone was compared: such a one is there only where its
    ``checksum`` is that of the image kept.
    """
    drop = groups.filter(pc.invert(groups["survivor"]))
    if "pages" not in groups.column_names:
        return drop
    same = pc.equal(drop["checksum"], kept_of(drop, groups)["checksum"])
    return drop.filter(pc.or_(pc.less_equal(drop["pages"], 1), same))


def kept_of(drop: pa.Table, groups: pa.Table) -> pa.Table:
    """Return for each row of ``drop`` the one of ``groups`` that its group keeps."""
    kept = groups.filter(groups["survivor"])
    return kept.take(pc.index_in(drop["group"], value_set=kept["group"].combine_chunks()))


def _owners(pairs: SetPairs, set_of: Ids, rule: Rule) -> Ids:
    """Return for each rank the rank that survives it; ``set_of`` int64 (n,) is each rank's."""
    _, first = np.unique(set_of, return_index=True)
    queue = np.argsort(first)  # the sets, each in the place of its first rank
    turn = np.argsort(queue)
    one, other = turn[pairs.one], turn[pairs.other]
    if rule == "survivor":
        owner = _stars(one, other, len(queue))
        held = owner != np.arange(len(queue))
    else:
        owner = _components(one, other, len(queue))
        held = _not_alone(owner)
    # A set of several images is a group by itself.
    held[one[one == other]] = True
    place = turn[set_of]
    return np.where(held[place], first[queue[owner[place]]], np.arange(len(set_of)))


def _set_apart(owner: Ids, members: Ids, one: Ids, other: Ids) -> Ids:
    """Return ``owner`` without groups that hold one[i] and other[i]; members int64 (n,): ids."""
    there = np.isin(one, members) & np.isin(other, members)
    ranks = np.argsort(members)
    ends = [ranks[np.searchsorted(members, ids[there], sorter=ranks)] for ids in (one, other)]
    first, later = np.minimum(*ends), np.maximum(*ends)
    owner = owner.copy()
    for place in np.lexsort((later, first)):  # as few as a user has judged
        if owner[first[place]] == owner[later[place]]:
            owner[later[place]] = later[place]
    return owner


def _graph(one: Ids, other: Ids, count: int) -> Any:
    ends = (np.concatenate([one, other]), np.concatenate([other, one]))
    return coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(count, count)).tocsr()


def _components(one: Ids, other: Ids, count: int) -> Ids:
    """Return for each place the lowest place in its connected component."""
    labels = connected(one, other, count)
    lowest = np.full(count, count)
    np.minimum.at(lowest, labels, np.arange(count))
    found: Ids = lowest[labels]
    return found


def _stars(one: Ids, other: Ids, count: int) -> Ids:
    """Return for each place the place that took it: the first untaken one paired with it."""
    graph = _graph(one, other, count)
    owner = np.full(count, -1)
    for place in range(count):
        if owner[place] < 0:
            owner[place] = place
            near = graph.indices[graph.indptr[place] : graph.indptr[place + 1]]
            owner[near[owner[near] < 0]] = place
    return owner


def _not_alone(owner: Ids) -> Mask:
    """An image whose every partner was taken by another survivor is in no group."""
    sizes = np.bincount(owner, minlength=len(owner))
    alone: Mask = sizes[owner] > 1
    return alone
