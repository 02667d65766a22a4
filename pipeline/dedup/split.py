"""A split whose groups lie on one side, and the labels that disagree inside a group.

The images that pairs connect are one group. A group on both sides goes to the side that has more
of it, train where both have as many; as many images of each label come back, out of groups that lie
on one side whole, single images first, which a seed draws.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Ids, Mask
from pipeline.dedup.identical_sets import SetPairs, connected

TRAIN, TEST = "train", "test"


def connected_groups(sets: SetPairs, ids: Ids) -> Ids:
    """Return for each of ``ids`` int64 (n,) the lowest id that pairs connect it to, int64 (n,)."""
    labels = connected(sets.one, sets.other, len(sets.sizes))[sets.set_of]
    lowest = sets.ids[np.unique(labels, return_index=True)[1]]  # ids ascend
    groups = ids.copy()
    inside = np.isin(ids, sets.ids)
    groups[inside] = lowest[labels[np.searchsorted(sets.ids, ids[inside])]]
    return groups


def corrected_split(groups: Ids, test: Mask, labels: Ids, seed: int) -> Mask:
    """Return bool (n,): which images are test images once no group lies on both sides.

    groups int64 (n,): each image's; test bool (n,): where it is now; labels int64 (n,), from 0.
    Of each label as many stay on each side where there are groups of it that can change sides.
    """
    _, group = np.unique(groups, return_inverse=True)
    sizes, mine = np.bincount(group), np.bincount(group, test)
    torn = (mine > 0) & (mine < sizes)
    new = np.where(torn[group], (2 * mine > sizes)[group], test)
    change = np.bincount(labels, new.astype(np.int64) - test).astype(np.int64)
    for side, wanted in ((False, -change), (True, change)):  # to move out of train; out of test
        new[_drawn(group, test == side, torn[group], labels, wanted, seed)] = not side
    return new


def _drawn(group: Ids, side: Mask, torn: Mask, labels: Ids, wanted: Ids, seed: int) -> Mask:
    """Return the images of whole groups, each of one label, that make up ``wanted`` a label."""
    there = side & ~torn
    count = int(group.max(initial=-1)) + 1
    sizes = np.bincount(group, there, count).astype(np.int64)
    least, most = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(least, group[there], labels[there])
    np.maximum.at(most, group[there], labels[there])
    able = np.flatnonzero((sizes > 0) & (least == most))
    chance = np.random.default_rng([seed, 3]).random(count)[able]
    able = able[np.lexsort((chance, sizes[able], least[able]))]
    label = least[able]
    sums = np.cumsum(sizes[able])
    start = np.searchsorted(label, label)  # each label's first group
    before = np.concatenate([[0], sums])[start]
    taken = np.zeros(count, np.bool_)
    taken[able[sums - before <= wanted[label]]] = True
    chosen: Mask = taken[group] & there
    return chosen


def split_change(test: Mask, new: Mask, labels: Ids) -> tuple[float, float]:
    """Return the largest change of a side's size, of 1, and of a label's share of a side."""
    size, share = 0.0, 0.0
    for before, after in ((test, new), (~test, ~new)):
        size = max(size, abs(int(after.sum()) / max(1, int(before.sum())) - 1))
        most = int(labels.max(initial=-1)) + 1
        was, now = (
            np.bincount(labels[side], minlength=most) / max(1, int(side.sum()))
            for side in (before, after)
        )
        share = max(share, float(np.abs(now - was).max(initial=0)))
    return size, share


def disagreeing(table: pa.Table) -> pa.Table:
    """Return those rows of ``table`` (group, label) whose group holds several labels, by group.

    Images without a label agree with all.
    """
    told = table.filter(pc.is_valid(table["label"]))
    counts = told.group_by("group").aggregate([("label", "count_distinct")])
    several = counts.filter(pc.greater(counts["label_count_distinct"], 1))["group"]
    found = table.filter(pc.is_in(table["group"], value_set=several.combine_chunks()))
    return found.sort_by([("group", "ascending"), ("id", "ascending")])


def split_tables(images: pa.Table, sets: SetPairs, seed: int) -> tuple[pa.Table, pa.Table, Mask]:
    """Return the corrected split, the labels that disagree, and the new test images bool (n,).

    images: (id, key, path, label, test), all of train and test; sets: their pairs, within and
    across. The split has (key, path, side, moved) of each image by key, the labels (group, key,
    path, side, label), where a group is named by an image of it.
    """
    ids = images["id"].to_numpy()
    groups = connected_groups(sets, ids)
    test = images["test"].to_numpy()
    new = corrected_split(groups, test, label_numbers(images), seed)
    order = pc.sort_indices(images, [("key", "ascending"), ("id", "ascending")])
    told = images.select(["key", "path"]).append_column("side", _sides(new))
    split = told.append_column("moved", pa.array(new != test)).take(order)
    named = images["key"].take(pc.index_in(pa.array(groups), value_set=images["id"]))
    table = images.append_column("group", named).append_column("side", _sides(test))
    labels = disagreeing(table).select(["group", "key", "path", "side", "label"])
    return split, labels, new


def label_numbers(images: pa.Table) -> Ids:
    """Return a number from 0 for the label of each image, int64 (n,); none is a label too."""
    numbers = images["label"].combine_chunks().dictionary_encode(null_encoding="encode").indices
    found: Ids = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _sides(test: Mask) -> pa.Array:
    return pc.if_else(pa.array(test), TEST, TRAIN)
