"""How many buckets and candidates a search by index must take for a recall, with a lower bound.

A neighbour is found where its bucket is among those probed and its code among the candidates'. So
the place of its bucket in the query's own order, and the number of codes that score above its own,
say all: recall at every such work is known from one exact search of sample queries. The codes above
are counted in all buckets, which are more than in those probed: the recall told is a little low.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores
from pipeline.index.evidence import FIFTHS, Bounds, Evidence, Trials
from pipeline.index.gains import CODE_ROW


@dataclass(frozen=True)
class Work:
    """What a search does for a query: the buckets whose codes it compares, the vectors it reads."""

    probes: int
    candidates: int

    def read(self, buckets: int, images: int, dimensions: int) -> float:
        """Return the bytes it reads of an index of ``images`` in ``buckets``, about."""
        return self.probes / buckets * images * CODE_ROW + self.candidates * 4 * dimensions


@dataclass(frozen=True)
class WorkRecall:
    """Recall at some work. The bound holds for queries such as those sampled."""

    recall: float  # of all sampled queries' neighbours
    low: float  # Clopper-Pearson lower bound, one neighbour drawn a query
    confidence: float
    queries: int
    added: bool = False  # as of Evidence
    fifths: tuple[float, ...] = ()  # of queries by difficulty, the easiest first, where it matters


def probe_recall(places: Numbers, probes: Ids, bounds: Bounds) -> list[WorkRecall]:
    """Return the recall at each number in ``probes`` (p,), from places int32 (q, k).

    Neighbours of one query are not independent, so the bound counts one of each, drawn at random.
    """
    shares, low, drawn = _shares_and_bounds(places, probes, bounds)
    return [
        WorkRecall(float(share), float(bound), bounds.confidence, drawn)
        for share, bound in zip(shares, low, strict=True)
    ]


def _shares_and_bounds(places: Numbers, probes: Ids, bounds: Bounds) -> tuple[Scores, Scores, int]:
    """Return (p,) and (p,): the recalls at ``probes`` and their bounds; and the queries drawn."""
    there = places >= 0
    places, there = places[there.any(axis=1)], there[there.any(axis=1)]
    drawn = _one_a_query(places, there)
    found = np.searchsorted(np.sort(drawn), probes)
    shares = np.searchsorted(np.sort(places[there]), probes) / max(1, there.sum())
    return shares, bounds.of(len(drawn))[found], len(drawn)


def choose_probes(
    places: Numbers,
    buckets: int,
    recall: float,
    bounds: Bounds,
    proved: bool = True,
    trials: Trials | None = None,
) -> int | None:
    """Return the fewest probes whose recall has a bound of at least ``recall``.

    Numbers of probes are tested from all buckets downwards until one fails, so that testing many
    costs no confidence (fixed-sequence testing). None where even all buckets fail. Where it need
    not be ``proved``, the recall itself is compared. With ``trials`` of the same queries each fifth
    of them by difficulty has ``recall`` too.
    """
    counts = np.arange(buckets, 0, -1)
    shares, low, _ = _shares_and_bounds(places, counts, bounds)
    least = np.minimum(low if proved else shares, _worst_fifth(places, counts, trials))
    enough = np.logical_and.accumulate(least >= recall)
    return int(counts[enough][-1]) if enough[0] else None


def choose_work(
    groups: Sequence[Evidence], buckets: int, dimensions: int, recall: float, bounds: Bounds
) -> Work:
    """Return the work that gives each group of queries ``recall`` and reads the fewest bytes.

    By its bound; by itself for images added since, where they are too few to prove it. All buckets
    and all images are candidates where nothing less does: that is exact.
    """
    images = groups[0].images
    least, cost = Work(buckets, images), float("inf")
    for count in _ladder(groups[0].places.shape[1], images):
        probes = [_probes(group, count, buckets, recall, bounds) for group in groups]
        enough = [one for one in probes if one is not None]
        if len(enough) < len(groups):
            continue
        work = Work(max(enough), count)
        read = work.read(buckets, images, dimensions)
        if read < cost:
            least, cost = work, read
    return least


def _probes(
    group: Evidence, candidates: int, buckets: int, recall: float, bounds: Bounds
) -> int | None:
    places = group.places_among(candidates)
    drawn = int((places >= 0).any(axis=1).sum())
    proved = not group.added or bool(bounds.of(drawn)[drawn] >= recall)
    trials = group.trials if proved else None
    return choose_probes(places, buckets, recall, bounds, proved, trials)


def _ladder(least: int, most: int) -> Iterator[int]:
    count = least
    while count < most:
        yield count
        count *= 2


def work_recall(evidence: Evidence, work: Work, bounds: Bounds) -> WorkRecall:
    """Return the recall of ``work`` on queries that did not choose it.

    The bound counts a neighbour a query, the share all: it is told no higher than the share.
    """
    places = evidence.places_among(work.candidates)
    seen = probe_recall(places, np.array([work.probes]), bounds)[0]
    fifths = tuple(_by_fifths(places, np.array([work.probes]), evidence.trials)[:, 0].tolist())
    return replace(seen, low=min(seen.low, seen.recall), added=evidence.added, fifths=fifths)


def _by_fifths(places: Numbers, probes: Ids, trials: Trials | None) -> Scores:
    """Return (5, p): the recall of each fifth of the queries by difficulty at each of ``probes``.

    (0, p) where that is not known.
    """
    nothing = np.empty((0, len(probes)))
    if trials is None:
        return nothing
    parts = np.array_split(places[np.argsort(trials.difficulty, kind="stable")], FIFTHS)
    known = [np.sort(part[part >= 0]) for part in parts]
    if not all(map(len, known)):
        return nothing
    return np.array([np.searchsorted(part, probes) / len(part) for part in known])


def _worst_fifth(places: Numbers, probes: Ids, trials: Trials | None) -> Scores:
    worst: Scores = _by_fifths(places, probes, trials).min(axis=0, initial=1.0)
    return worst


def _one_a_query(places: Numbers, there: Mask) -> AnyArray:
    rng = np.random.default_rng(0)
    keys = np.where(there, rng.random(places.shape), -1.0)
    return np.take_along_axis(places, keys.argmax(axis=1)[:, None], axis=1)[:, 0]
