"""A search by index: buckets, then codes, then vectors, with the recall that this costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.arrays import Mask, Numbers, Scores, Vectors
from pipeline.core.errors import ConfigError, StoreError
from pipeline.core.folder import Place
from pipeline.core.makers import made_by
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.index.coarse_codes import CoarseCoder
from pipeline.index.effort import Effort, choose_effort, effort_recall
from pipeline.index.evidence import (
    Bounds,
    Evidence,
    Levels,
    many_left,
    read_bounds,
    read_evidence,
)
from pipeline.index.gains import Gains
from pipeline.index.layout import refuse_other_layout
from pipeline.index.nominate import NominatePlan, nominated
from pipeline.index.partitions import Partitions
from pipeline.index.probes import Work, WorkRecall, choose_work, work_recall
from pipeline.index.rounds import (
    Searched,
    difficulty,
    first_round,
    further_rounds,
    queries_at_once,
)
from pipeline.index.scan import scan
from pipeline.index.score_candidates import Found, score_candidates
from pipeline.search.answers import without_self
from pipeline.search.batches import exact_loss, seconds_of_search
from pipeline.search.merge import Merged
from pipeline.search.passing import Passing
from pipeline.search.queries import Queries
from pipeline.search.unlike import named, unlike

# Share of queries such as the collection's images that are called unlike it: each such alarm costs
# a comparison with everything. With 5 % hardly more of other kinds are told.
FALSE_ALARMS = 0.01
COMPARED_BYTES = 2**28  # of vectors that pass: a search reads them in half a second
MOST_CANDIDATES = 4096  # of a query where some images do not pass; a batch's are held in memory


@dataclass(frozen=True)
class OpenIndex:
    """An index of ``embeddings``, and the work that a search by it does."""

    index: Store
    embeddings: Store
    partitions: Partitions
    coder: CoarseCoder
    work: Work | Effort
    nearest: Sequence[Scores] = ()  # (n,) of each group whose searches the recall is known of
    seen: Sequence[WorkRecall] = ()  # of each group: the recall of ``work``
    asked: float = 1.0  # recall
    measured_among: int = 0  # images
    passing: Passing | None = None  # the images that may be candidates; none: all

    def among(self, passing: Passing) -> "OpenIndex":
        """Return the search among those that pass.

        They may all lie in buckets far from the query, so none is left out: all are compared, or
        where their vectors are many, all their codes, and of the best the vectors.
        """
        buckets, dimensions = self.partitions.grid.buckets, len(self.coder.projection)
        if passing.images * 4 * dimensions <= COMPARED_BYTES:
            return replace(self, work=Work(buckets, passing.images), passing=passing)
        read = self.work.read(buckets, self.embeddings.rows(), dimensions)
        candidates = min(int(read // (4 * dimensions)), MOST_CANDIDATES)
        work = Work(buckets, max(candidates, self.work.candidates))
        return replace(self, work=work, passing=passing)

    @property
    def exact(self) -> bool:
        """Return whether all images are compared, or all that pass."""
        images = self.passing.images if self.passing else self.embeddings.rows()
        everywhere = self.work.probes >= self.partitions.grid.buckets
        return everywhere and self.work.candidates >= images

    def seconds(self, queries: int) -> float:
        """Return about how long one process takes to search for so many."""
        buckets, dimensions = self.partitions.grid.buckets, len(self.coder.projection)
        rows = self.embeddings.rows() * self.work.probes // buckets
        coarse = seconds_of_search(rows * self.coder.projection.shape[1], queries)
        return coarse + queries * seconds_of_search(self.work.candidates * dimensions, 1)

    def seconds_of_all(self, queries: int) -> float:
        """Return about how long one process takes to compare so many with all vectors."""
        return seconds_of_search(self.embeddings.rows() * len(self.coder.projection), queries)

    def parts(self, probes: Numbers) -> list[int]:
        """Return the parts that hold the buckets ``probes``, none where no image passes."""
        if self.passing and not self.passing.images:
            return []
        return self.partitions.holding(probes)


def open_index(
    root: Place, embeddings: Store, k: int, recall: float, confidence: float
) -> OpenIndex:
    """Open the index of ``embeddings`` at ``root``; choose the work for ``recall`` at ``k``.

    The recall of that work is measured on queries that did not choose it. Raises StoreError where
    the index is of other embeddings, lacks some, or was made by another version; ConfigError where
    its recall at ``k`` is not known.
    """
    index = Store.open(root, "index")
    refuse_other_layout(index)
    there = embeddings.manifest()
    index.manifest()
    if (index.identity["embeddings"], index.identity["first_shard"]) != (
        embeddings.identity,
        there[0].checksum,
    ):
        raise StoreError(f"{root} is the index of other embeddings; mend index.output")
    evidence, partitions = read_evidence(index), Partitions.kept(index)
    rows = embeddings.rows()
    if partitions is None or (partitions.generations[-1], evidence[0].images) != (len(there), rows):
        raise StoreError(f"{root} does not cover all of {embeddings.root}; run sluice index --add")
    known = index.identity["calibration"][1]
    if k > known:
        raise ConfigError(
            f"search.k is {k}, but the index knows its recall up to {known}; "
            "make another index with a larger index.calibration_k"
        )
    halves = [group.halves(k) for group in evidence]
    coder, bounds = CoarseCoder.required(index), read_bounds(index, confidence)
    choosing = [first for first, _ in halves]
    work = _chosen(index, choosing, partitions.grid.buckets, len(coder.projection), recall, bounds)
    seen = [_seen(second, work, bounds) for _, second in halves]
    nearest = [group.nearest for group in evidence]
    return OpenIndex(
        index, embeddings, partitions, coder, work, nearest, seen, recall, evidence[0].among
    )


def _chosen(
    index: Store,
    choosing: Sequence[Evidence],
    buckets: int,
    dimensions: int,
    recall: float,
    bounds: Bounds,
) -> Work | Effort:
    """Return what reads the fewest bytes: the same work for all queries, or by their difficulty."""
    work = choose_work(choosing, buckets, dimensions, recall, bounds)
    gains, levels = Gains.attached(index), Levels.attached(index)
    if gains is None or levels is None:
        return work
    effort = choose_effort(choosing, levels, gains, recall, bounds.confidence)
    read = work.read(buckets, choosing[0].images, dimensions)
    return work if effort is None or effort.bytes_read >= read else effort


def _seen(evidence: Evidence, work: Work | Effort, bounds: Bounds) -> WorkRecall:
    if isinstance(work, Effort):
        return effort_recall(evidence, work, bounds.confidence)
    return work_recall(evidence, work, bounds)


def search_index(spread: Spread, opened: OpenIndex, queries: Vectors, k: int) -> Merged:
    """Return the ``k`` best of each of f32 (q, d) ``queries`` among its candidates."""
    ids, scores = np.zeros((len(queries), k), np.int64), np.full((len(queries), k), -np.inf)
    shards = np.zeros((len(queries), k), np.int64)
    at_once = queries_at_once(opened.partitions.grid.buckets)
    for start in range(0, len(queries), at_once):
        found = _search(spread, opened, queries[start : start + at_once], k)
        rank = np.arange(len(found.query)) - np.searchsorted(found.query, found.query)
        ids[start + found.query, rank] = found.ids
        scores[start + found.query, rank] = found.scores
        shards[start + found.query, rank] = found.shards
    return Merged(ids, scores, shards, np.ones(len(queries), np.bool_))


def _search(spread: Spread, opened: OpenIndex, queries: Vectors, k: int) -> Found:
    work = opened.work
    if isinstance(work, Effort):
        return _in_rounds(spread, opened, work, queries, k)
    probes = opened.partitions.grid.nearest(queries, work.probes)
    roots = (opened.index.root, opened.embeddings.root)
    # The query's own image may be among the candidates, and is not an answer.
    count = max(k, work.candidates + 1)
    asked, bits = opened.coder.queries(queries), opened.coder.bits
    plan = NominatePlan(*roots, asked, probes, count, bits, opened.passing)
    candidates = nominated(spread, plan, opened.parts(probes))
    return score_candidates(spread, opened.index, queries, candidates, k)


def _in_rounds(
    spread: Spread, opened: OpenIndex, effort: Effort, queries: Vectors, k: int
) -> Found:
    known = opened.index.identity["calibration"][1]
    stores = (opened.index, opened.embeddings)
    searched = Searched(spread, *stores, opened.partitions, opened.coder, known + 1)
    first = first_round(searched, queries)
    levels, most = effort.of(difficulty(first, effort.gains))
    return further_rounds(searched, queries, first, effort.gains, levels, most, k).found


def search_opened(
    spread: Spread, opened: OpenIndex, queries: Vectors, k: int, record: RunRecord
) -> Merged:
    """Return the ``k`` best of each of f32 (q, d) ``queries``, comparing all where that is less."""
    if not opened.exact:
        return search_index(spread, opened, queries, k)
    nothing = opened.passing is not None and not opened.passing.images
    parts = 0 if nothing else opened.partitions.parts
    index, embeddings = opened.index, opened.embeddings
    return scan(spread, index, embeddings, parts, queries, k, record, opened.passing)


def unlike_queries(opened: OpenIndex, queries: Queries, merged: Merged) -> Mask:
    """Return (q,): the queries of which the recall that is promised says nothing.

    They are unlike every group of images; of a group that is too small for so few false alarms,
    further away than all of its images are. Or they lack results: what was near them has left.

    merged: their answers by ``opened``, one deeper than asked for.
    """
    if opened.passing or opened.exact:
        return np.zeros(len(queries.keys), np.bool_)
    _, scores = without_self(queries, merged, merged.ids.shape[1] - 1)
    groups = [
        unlike(nearest, scores[:, 0], max(FALSE_ALARMS, 1 / (1 + len(nearest))))
        for nearest in opened.nearest
    ]
    there = opened.embeddings.images() - queries.stored
    lacking = (scores > -np.inf).sum(axis=1) < np.minimum(scores.shape[1], there)
    found: Mask = np.all(groups, axis=0) | lacking
    return found


def compared_with_everything(
    spread: Spread,
    opened: OpenIndex,
    queries: Vectors,
    merged: Merged,
    some: Mask,
    record: RunRecord,
) -> Merged:
    """Return ``merged``, with the exact answers of the queries ``some`` (q,) of f32 (q, d)."""
    index, parts = opened.index, opened.partitions.parts
    exact = scan(
        spread, index, opened.embeddings, parts, queries[some], merged.ids.shape[1], record
    )
    ids, scores, shards = merged.ids.copy(), merged.scores.copy(), merged.shards.copy()
    ids[some], scores[some], shards[some] = exact.ids, exact.scores, exact.shards
    return Merged(ids, scores, shards, merged.certified)


def index_loss(opened: OpenIndex, keys: Sequence[str], exact: Mask) -> str:
    """Return what a search by index lost against brute force, in a sentence or two.

    exact (q,): the queries that were compared with everything, being unlike those whose recall is
    known.
    """
    work, buckets = opened.work, opened.partitions.grid.buckets
    did = f"probed {work.probes:,} of {buckets:,} buckets and compared {work.candidates:,}"
    if opened.exact:
        return exact_loss(opened.embeddings, opened.passing)
    if opened.passing:
        return (
            f"{did} candidates among the {opened.passing.images:,} images that pass: recall is not "
            "known where some do not pass; without --index all that do are compared"
        )
    said = [] if exact.all() else _promises(opened)
    if exact.any():
        said.append(
            f"{named(keys, exact)}, less like the collection than {1 - FALSE_ALARMS:.0%} of its "
            "own images or short of results, were compared with everything: nothing is lost for "
            "them"
        )
    mean = " on average, more for harder queries" if isinstance(work, Effort) else ""
    return f"{did} candidates{mean}: {'; '.join(said)}"


def _promises(opened: OpenIndex) -> list[str]:
    among, images = opened.measured_among, opened.embeddings.images()
    if not many_left(among, images):
        return [_promise(opened, seen) for seen in opened.seen]
    return [
        f"recall is not known: {among - images:,} of the {among:,} images it was measured among "
        f"have left; run {made_by('index')} again"
    ]


def _promise(opened: OpenIndex, seen: WorkRecall) -> str:
    """Return the recall of a group of images as queries, and what to do where it is too low."""
    least = f"{seen.recall:.4f}, at least {seen.low:.4f}"
    if not seen.added:
        return (
            f"recall against brute force {least} with {seen.confidence:.0%} confidence, measured "
            f"on {seen.queries:,} sampled images that did not choose them{_by_fifths(seen)}"
        )
    told = f"of images added since the grid was trained {least}, on {seen.queries:,} of those"
    if seen.recall >= opened.asked:
        return told
    return (
        f"{told}, not the {opened.asked} asked for: for such, delete {opened.index.root} and run "
        f"{made_by('index')} again"
    )


def _by_fifths(seen: WorkRecall) -> str:
    if not seen.fifths:
        return ""
    return f" (by fifths, the easiest first: {', '.join(f'{one:.3f}' for one in seen.fifths)})"
