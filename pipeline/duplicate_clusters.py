"""Clusters of near-duplicates, and the one image of each that is kept.

The survivor is the image with the most pixels, and of equal ones the lowest id. ``survivor`` is
the strict rule: images are taken in that order, and each one not yet taken takes the untaken
images that are paired with itself, so every member is similar to its survivor and chains end.
``components`` takes all that pairs connect.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Rule = Literal["survivor", "components"]
CLUSTERS = pa.schema(
    [
        ("cluster", pa.int64()),  # the survivor's id
        ("id", pa.int64()),
        ("survivor", pa.bool_()),
        ("pixels", pa.int64()),
    ]
)


def cluster_pairs(pairs: pa.Table, images: pa.Table, rule: Rule) -> pa.Table:
    """Return CLUSTERS of all images in ``pairs`` (a, b), by cluster, its survivor first, then id.

    ``images`` has id and pixels of every image at least in ``pairs``.
    """
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    members = np.unique(np.concatenate([a, b]))
    pixels = _pixels(images, members)
    order = np.lexsort((members, -pixels))  # who survives before whom
    rank = np.empty(len(members), np.int64)
    rank[order] = np.arange(len(members))
    one, other = rank[np.searchsorted(members, a)], rank[np.searchsorted(members, b)]
    owner = _components(one, other, len(members))
    if rule == "survivor":
        owner = _stars(one, other, len(members))
    ids, cluster = members[order], members[order][owner]
    inside = _not_alone(owner)
    ids, cluster, kept = ids[inside], cluster[inside], pixels[order][inside]
    survivor = ids == cluster
    rows = np.lexsort((ids, ~survivor, cluster))
    columns = (cluster[rows], ids[rows], survivor[rows], kept[rows])
    return pa.table(dict(zip(CLUSTERS.names, columns, strict=True)), schema=CLUSTERS)


def _pixels(images: pa.Table, members: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    known, pixels = images["id"].to_numpy(), images["pixels"].to_numpy()
    order = np.argsort(known)
    found: np.ndarray[Any, Any] = pixels[order[np.searchsorted(known, members, sorter=order)]]
    return found


def _graph(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], count: int) -> Any:
    ends = (np.concatenate([one, other]), np.concatenate([other, one]))
    return coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(count, count)).tocsr()


def _components(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, Any]:
    """Return for each rank the lowest rank in its connected component."""
    _, labels = connected_components(_graph(one, other, count), directed=False)
    lowest = np.full(count, count)
    np.minimum.at(lowest, labels, np.arange(count))
    return lowest[labels]


def _stars(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], count: int
) -> np.ndarray[Any, Any]:
    """Return for each rank the rank that took it: the first untaken one paired with it."""
    graph = _graph(one, other, count)
    owner = np.full(count, -1)
    for rank in range(count):
        if owner[rank] < 0:
            owner[rank] = rank
            near = graph.indices[graph.indptr[rank] : graph.indptr[rank + 1]]
            owner[near[owner[near] < 0]] = rank
    return owner


def _not_alone(owner: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An image whose every partner was taken by another survivor is in no cluster."""
    sizes = np.bincount(owner, minlength=len(owner))
    alone: np.ndarray[Any, Any] = sizes[owner] > 1
    return alone
