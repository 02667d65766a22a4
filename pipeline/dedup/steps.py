"""What each similarity of a slider would drop, and the components that are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Scores
from pipeline.core.tables import places
from pipeline.dedup.groups import Apart, Rule, group_pairs
from pipeline.dedup.identical_sets import SetPairs, connected, every_pair, rows_of_pairs
from pipeline.dedup.keeping import keeping_order

STEPS = 21


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
    sure: float  # how sure it is that they are copies, 0 to 1; the score where nothing else tells
    why: str | None  # what was done to one of them, in words
    # The affine map of ``other`` onto ``one``: (xx, xy, x, yx, yy, y), in shares of their sides.
    alignment: tuple[float, ...] | None


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
    pairs: SetPairs, known: pa.Table, images: pa.Table, most: int, largest: int, together: int
) -> list[Component]:
    """Return ``most`` connected components of at most ``largest`` images, the least sure first.

    Fewer, where more had more than ``together`` images.

    known: PAIRS of those that stand for ``pairs``, with ``verified``, ``why`` and ``alignment``
    where these are known. Whatever the slider and the rule say, a group stays within its component.
    """
    row = rows_of_pairs(known, pairs.first[pairs.one], pairs.first[pairs.other])
    sure = _sureness(known, row, pairs.scores)
    component = connected(pairs.one, pairs.other, len(pairs.sizes))
    least = np.full(len(pairs.sizes), np.inf)
    np.minimum.at(least, component[pairs.one], sure)
    sizes = np.bincount(component[pairs.set_of], minlength=len(least))
    fitting = np.flatnonzero((sizes <= largest) & np.isfinite(least))
    # The numbers of sets, and so of components, hang on the ids alone.
    chosen = fitting[np.lexsort((fitting, least[fitting]))][:most]
    chosen = chosen[np.cumsum(sizes[chosen]) <= together]
    shown = pairs.some(np.isin(component[pairs.one], chosen))
    members = pairs.ids[np.isin(component[pairs.set_of], chosen)]
    found = images.take(pa.array(places(members, images["id"].to_numpy())))
    members = members[keeping_order(found)]
    owner = component[pairs.set_of[np.searchsorted(pairs.ids, members)]]
    listed = _listed(pairs, shown, known)
    return [_component(members[owner == number], listed) for number in chosen]


def _sureness(known: pa.Table, row: Ids, scores: Scores) -> Scores:
    if "verified" not in known.column_names:
        return scores
    told = known["verified"].take(pa.array(row, mask=row < 0)).to_numpy()
    return np.where(np.isnan(told), scores, told)


def _listed(pairs: SetPairs, shown: SetPairs, known: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """Return every pair of images of ``shown`` with what is known of it, by its first image."""
    table = every_pair(shown)
    a, b = (table[name].to_numpy() for name in ("a", "b"))
    one, other = pairs.stand_ins(a)[0], pairs.stand_ins(b)[0]
    within = one == other  # of a set the one that stands for it has a row with each further one
    row = rows_of_pairs(known, np.where(within, a, one), np.where(within, b, other))
    table = table.append_column("sure", pa.array(_sureness(known, row, table["score"].to_numpy())))
    for name in ("why", "alignment"):
        if name in known.column_names:
            table = table.append_column(name, known[name].take(pa.array(row, mask=row < 0)))
    found: dict[int, list[dict[str, Any]]] = {}
    for pair in table.to_pylist():
        found.setdefault(pair["a"], []).append(pair)
    return found


def _component(ids: Ids, listed: dict[int, list[dict[str, Any]]]) -> Component:
    place = {number: position for position, number in enumerate(ids.tolist())}
    mine = [pair for number in sorted(place) for pair in listed.get(number, ())]
    return Component(tuple(place), tuple(_shown(pair, place) for pair in mine))


def _shown(pair: dict[str, Any], place: dict[int, int]) -> ShownPair:
    one, other = place[pair["a"]], place[pair["b"]]
    alignment = pair.get("alignment")
    if alignment and other < one:  # it maps b onto a
        alignment = _inverted(alignment)
    why = pair.get("why") or ("same pixels" if pair["identical"] else None)
    aligned = tuple(alignment) if alignment else None
    ends = (min(one, other), max(one, other))
    return ShownPair(*ends, pair["score"], pair["sure"], why, aligned)


def _inverted(affine: list[float]) -> list[float] | None:
    whole = np.vstack([np.reshape(affine, (2, 3)), [0.0, 0.0, 1.0]])
    if abs(np.linalg.det(whole)) < 1e-9:
        return None
    inverse: list[float] = np.linalg.inv(whole)[:2].reshape(-1).tolist()
    return inverse
