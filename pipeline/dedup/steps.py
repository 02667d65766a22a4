"""What each similarity of a slider would drop, and the components that are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import AnyArray, Ids
from pipeline.core.tables import places
from pipeline.dedup.groups import Apart, Rule, group_pairs
from pipeline.dedup.identical_sets import SetPairs, connected, ends_of, every_pair, rows_of_pairs
from pipeline.dedup.keeping import keeping_order
from pipeline.dedup.looked import with_roles

STEPS = 21
NONE = np.empty(0, np.int64)
KEPT, OTHER = "the one kept", "the other"  # of a pair, in words


@dataclass(frozen=True)
class Step:
    """What one place of the slider gives over all images."""

    threshold: float
    pairs: int
    groups: int
    drop: int


@dataclass(frozen=True)
class ShownPair:
    """Two images of a component, the one that is kept before the other first."""

    one: int  # their places in the component's ``ids``
    other: int
    score: float
    why: str | None  # what was done to one of them, in words
    # The affine map of ``other`` onto ``one``: (xx, xy, x, yx, yy, y), in shares of their sides.
    alignment: tuple[float, ...] | None
    drawn: bool = False  # by chance, to be judged before others


@dataclass(frozen=True)
class Component:
    """All images that pairs connect, in the order in which they survive, and their pairs."""

    ids: tuple[int, ...]
    pairs: tuple[ShownPair, ...]


def slider_steps(
    pairs: SetPairs, images: pa.Table, rule: Rule, similarity: float, apart: Apart = None
) -> list[Step]:
    """Return the counts at STEPS thresholds from ``similarity`` to 1, all grouped anew.

    apart: as of ``group_pairs``.
    """
    steps = []
    for threshold in np.linspace(similarity, 1.0, STEPS).tolist():
        kept = pairs.at_least(threshold)
        groups = group_pairs(kept, images, rule, apart)
        survivors = int(np.count_nonzero(groups["survivor"].to_numpy()))
        drop = groups.num_rows - survivors
        steps.append(Step(threshold, int(kept.counts.sum()), survivors, drop))
    return steps


def least_sure(
    pairs: SetPairs,
    known: pa.Table,
    images: pa.Table,
    groups: pa.Table,
    most: int,
    largest: int,
    together: int,
    drawn: tuple[Ids, Ids] = (NONE, NONE),
) -> list[Component]:
    """Return ``most`` connected components, those that hold pairs ``drawn`` (a, b) first, then the
    least sure.

    One of more than ``largest`` images comes group by group instead, of GROUPS, and of a group as
    large the first ones. Fewer are returned where more had more than ``together`` images.
    known: PAIRS of those that stand for ``pairs``, with ``why`` and ``alignment`` where a second
    look has told them. Whatever the slider and the rule say, a group stays within its component.
    """
    unit = _units(pairs, groups, largest)
    of_set = unit[np.unique(pairs.set_of, return_index=True)[1]]
    inside = (of_set[pairs.one] == of_set[pairs.other]) & (of_set[pairs.one] >= 0)
    count = int(unit.max(initial=-1)) + 1
    least = np.full(count, np.inf)
    np.minimum.at(least, of_set[pairs.one[inside]], pairs.scores[inside])
    sizes = np.minimum(np.bincount(unit[unit >= 0], minlength=count), largest)
    # The numbers of sets, and so of components, hang on the ids alone.
    later = ~np.isin(np.arange(count), _units_of(drawn, pairs.ids, unit))
    order = np.lexsort((np.arange(count), least, later))
    chosen = order[np.isfinite(least[order])][:most]
    chosen = chosen[np.cumsum(sizes[chosen]) <= together]
    ids, owner = _members(pairs, unit, chosen, images, largest)
    listed = _listed(pairs, ids, owner, known, ends_of(*drawn))
    return [_component(ids[owner == number], listed) for number in chosen]


def _units(pairs: SetPairs, groups: pa.Table, largest: int) -> Ids:
    """Return for each image, int64 (n,), the number of what it is shown with, -1 for nothing."""
    unit = connected(pairs.one, pairs.other, len(pairs.sizes))[pairs.set_of].astype(np.int64)
    large = (np.bincount(unit, minlength=1) > largest)[unit]
    place = pc.index_in(pa.array(pairs.ids), value_set=groups["id"].combine_chunks())
    group = groups["group"].take(place).fill_null(0).to_numpy()
    names = np.unique(group[large], return_inverse=True)[1] + int(unit.max(initial=-1)) + 1
    unit[large] = np.where(place.is_valid().to_numpy(zero_copy_only=False)[large], names, -1)
    return unit


def _units_of(drawn: tuple[Ids, Ids], ids: Ids, unit: Ids) -> Ids:
    """Return the units that hold both images of pairs ``drawn``."""
    known = np.isin(drawn[0], ids) & np.isin(drawn[1], ids)
    order = np.argsort(ids)
    a, b = (unit[order[np.searchsorted(ids, end[known], sorter=order)]] for end in drawn)
    found: Ids = a[a == b]
    return found


def _members(
    pairs: SetPairs, unit: Ids, chosen: Ids, images: pa.Table, largest: int
) -> tuple[Ids, Ids]:
    """Return the first ``largest`` images to be kept of each unit chosen, and their units."""
    there = np.isin(unit, chosen)
    ids, unit = pairs.ids[there], unit[there]
    order = keeping_order(images.take(pa.array(places(ids, images["id"].to_numpy()))))
    order = order[np.argsort(unit[order], kind="stable")]
    ids, unit = ids[order], unit[order]
    first = np.arange(len(unit)) - np.searchsorted(unit, unit) < largest
    return ids[first], unit[first]


def _listed(
    pairs: SetPairs, ids: Ids, owner: Ids, known: pa.Table, drawn: AnyArray
) -> dict[int, list[dict[str, Any]]]:
    """Return every pair of ``ids`` of one owner with what is known of it, by its first image."""
    table = every_pair(pairs.among(ids))
    order = np.argsort(ids)
    a, b = (
        owner[order[np.searchsorted(ids, table[name].to_numpy(), sorter=order)]] for name in "ab"
    )
    table = table.filter(pa.array(a == b))
    a, b = (table[name].to_numpy() for name in "ab")
    one, other = pairs.stand_ins(a)[0], pairs.stand_ins(b)[0]
    table = table.append_column("drawn", pa.array(np.isin(ends_of(a, b), drawn)))
    within = one == other  # of a set the one that stands for it has a row with each further one
    row = rows_of_pairs(known, np.where(within, a, one), np.where(within, b, other))
    table = table.append_column("turned", pa.array(one > other))  # what is known is of (b, a)
    found = known.take(pa.array(row, mask=row < 0))
    if "alignment" in known.column_names:
        table = table.append_column("alignment", found["alignment"])
    if "why" in known.column_names:
        for name, ends in (("why", (KEPT, OTHER)), ("why turned", (OTHER, KEPT))):
            table = table.append_column(name, with_roles(found["why"], *ends))
    by_image: dict[int, list[dict[str, Any]]] = {}
    for pair in table.to_pylist():
        by_image.setdefault(pair["a"], []).append(pair)
    return by_image


def _component(ids: Ids, listed: dict[int, list[dict[str, Any]]]) -> Component:
    place = {number: position for position, number in enumerate(ids.tolist())}
    mine = [pair for number in sorted(place) for pair in listed.get(number, ())]
    return Component(tuple(place), tuple(_shown(pair, place) for pair in mine))


def _shown(pair: dict[str, Any], place: dict[int, int]) -> ShownPair:
    one, other = place[pair["a"]], place[pair["b"]]
    alignment = pair.get("alignment")
    turned = pair["turned"] != (other < one)
    if alignment and turned:  # it maps b onto a
        alignment = _inverted(alignment)
    why = pair.get("why turned" if turned else "why") or (
        "same pixels" if pair["identical"] else None
    )
    aligned = tuple(alignment) if alignment else None
    ends = (min(one, other), max(one, other))
    return ShownPair(*ends, pair["score"], why, aligned, pair["drawn"])


def _inverted(affine: list[float]) -> list[float] | None:
    whole = np.vstack([np.reshape(affine, (2, 3)), [0.0, 0.0, 1.0]])
    if abs(np.linalg.det(whole)) < 1e-9:
        return None
    inverse: list[float] = np.linalg.inv(whole)[:2].reshape(-1).tolist()
    return inverse
