"""What each similarity of a slider would drop, and the groups that are shown."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.dedup.clusters import Rule, cluster_pairs
from pipeline.dedup.pair_groups import PairGroups, every_pair

STEPS = 21


@dataclass(frozen=True)
class Step:
    """What one place of the slider gives over all images."""

    threshold: float
    pairs: int
    clusters: int
    drop: int


@dataclass(frozen=True)
class Group:
    """Images that pairs connect, in the order in which they survive, and their pairs."""

    ids: tuple[int, ...]
    pairs: tuple[tuple[int, int, float], ...]  # places in ``ids``, score


def slider_steps(pairs: PairGroups, images: pa.Table, rule: Rule, similarity: float) -> list[Step]:
    """Return the counts at STEPS thresholds from ``similarity`` to 1, all clustered anew."""
    steps = []
    for threshold in np.linspace(similarity, 1.0, STEPS).tolist():
        kept = pairs.at_least(threshold)
        clusters = cluster_pairs(kept, images, rule)
        survivors = int(np.count_nonzero(clusters["survivor"].to_numpy()))
        drop = clusters.num_rows - survivors
        steps.append(Step(threshold, int(kept.counts.sum()), survivors, drop))
    return steps


def connected_groups(pairs: PairGroups, images: pa.Table, most: int, largest: int) -> list[Group]:
    """Return ``most`` groups of connected images, the largest of at most ``largest`` first.

    A group is a whole connected component: whatever the slider says, clusters stay within it.
    """
    clusters = cluster_pairs(pairs, images, "components")
    names, counts = np.unique(clusters["cluster"].to_numpy(), return_counts=True)
    fitting = names[counts <= largest]
    order = np.lexsort((fitting, -counts[counts <= largest]))
    return [_group(pairs, clusters, int(name)) for name in fitting[order][:most]]


def _group(pairs: PairGroups, clusters: pa.Table, name: int) -> Group:
    rows = clusters.filter(pa.array(clusters["cluster"].to_numpy() == name)).to_pylist()
    ids = [row["id"] for row in sorted(rows, key=lambda row: (-row["pixels"], row["id"]))]
    place = {number: position for position, number in enumerate(ids)}
    mine = every_pair(pairs.among(np.array(ids, np.int64))).to_pylist()
    inside = [(place[row["a"]], place[row["b"]], row["score"]) for row in mine]
    return Group(tuple(ids), tuple(inside))
