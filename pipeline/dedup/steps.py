"""What each similarity of a slider would drop, and the components that are shown."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import Rule, group_pairs
from pipeline.dedup.identical_sets import SetPairs, every_pair

STEPS = 21


@dataclass(frozen=True)
class Step:
    """What one place of the slider gives over all images."""

    threshold: float
    pairs: int
    groups: int
    drop: int


@dataclass(frozen=True)
class Component:
    """All images that pairs connect, in the order in which they survive, and their pairs."""

    ids: tuple[int, ...]
    pairs: tuple[tuple[int, int, float], ...]  # places in ``ids``, score


def slider_steps(pairs: SetPairs, images: pa.Table, rule: Rule, similarity: float) -> list[Step]:
    """Return the counts at STEPS thresholds from ``similarity`` to 1, all grouped anew."""
    steps = []
    for threshold in np.linspace(similarity, 1.0, STEPS).tolist():
        kept = pairs.at_least(threshold)
        groups = group_pairs(kept, images, rule)
        survivors = int(np.count_nonzero(groups["survivor"].to_numpy()))
        drop = groups.num_rows - survivors
        steps.append(Step(threshold, int(kept.counts.sum()), survivors, drop))
    return steps


def largest_components(
    pairs: SetPairs, images: pa.Table, most: int, largest: int
) -> list[Component]:
    """Return ``most`` connected components, the largest of at most ``largest`` images first.

    Whatever the slider and the rule say, a group stays within its component.
    """
    groups = group_pairs(pairs, images, "components")
    names, counts = np.unique(groups["group"].to_numpy(), return_counts=True)
    fitting = names[counts <= largest]
    order = np.lexsort((fitting, -counts[counts <= largest]))
    return [_component(pairs, groups, int(name)) for name in fitting[order][:most]]


def _component(pairs: SetPairs, groups: pa.Table, name: int) -> Component:
    ids = groups.filter(pa.array(groups["group"].to_numpy() == name))["id"].to_pylist()
    place = {number: position for position, number in enumerate(ids)}
    mine = every_pair(pairs.among(np.array(ids, np.int64))).to_pylist()
    inside = [(place[row["a"]], place[row["b"]], row["score"]) for row in mine]
    return Component(tuple(ids), tuple(inside))
