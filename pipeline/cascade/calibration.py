"""What a cascade knows of a collection: filters fitted on one sample, evidence from another.

Both samples are drawn from the signed images at random; the first is for fitting alone. Of the
second every image is a query too: for semantic neighbours it asks for its nearest images in the
sample, for copies a changed version of it asks for the image itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.cascade.filters import (
    COMPONENTS,
    EmbeddingSpace,
    LearnedFilter,
    fit_filter,
    fit_space,
)
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.planner import (
    Evidence,
    StageCosts,
    category_widths,
    narrowed,
    neighbour_ranks,
    of_planning,
    ranks_among,
)
from pipeline.cascade.stages import LEARNED
from pipeline.core.arrays import Ids, Mask, Scores, Vectors
from pipeline.core.errors import InputError
from pipeline.core.tables import embedding_matrix, places
from pipeline.index.grid import Grid
from pipeline.index.ivf import train_ivf
from pipeline.search.queries import Queries

AVERAGED = 0.5  # sum of the weights' squares up to which a query's neighbours are averaged over
CATEGORIES, A_CATEGORY = 8, 16  # of queries, at most; planning queries of each, about
RARE = 1e-6
LEAST_IMAGES = 2 * (COMPONENTS + 1)


def draw_samples(ids: Ids, fit: int, calibration: int, seed: int) -> tuple[Ids, Ids]:
    """Return ids of two disjoint random samples, of at most half of the images each.

    The draw depends on the set of ids alone. Raises InputError where there are too few.
    """
    if len(ids) < LEAST_IMAGES:
        raise InputError(
            f"{len(ids)} images are too few to calibrate a cascade on ({LEAST_IMAGES} are needed); "
            "embed and search them all instead"
        )
    drawn = np.random.default_rng(seed).permutation(np.sort(ids))
    half = len(ids) // 2
    first = min(fit, half)
    return drawn[:first], drawn[first : first + min(calibration, half)]


@dataclass(frozen=True)
class StageFilters:
    """What the stages know images by: all that a worker needs of a calibration."""

    space: EmbeddingSpace
    learned: dict[str, LearnedFilter]  # by stage

    def codes(self, stage: str, features: pa.Table) -> Vectors:
        """Return the codes f32 (n, c) by which ``stage`` knows images with these features."""
        if stage in LEARNED:
            return self.learned[stage].codes(LEARNED[stage](features))
        return self.space.codes(embedding_matrix(features["embedding"]))

    def query_codes(self, stage: str, queries: pa.Table, neighbours: Neighbours) -> Vectors:
        """Return the codes f32 (q, c) by which queries ask.

        For semantic neighbours a query asks by its own embedding, which is better than what the
        filter predicts of it; a copy is found best by what the filter says of both alike.
        """
        if neighbours == "semantic":
            return self.space.codes(embedding_matrix(queries["embedding"]))
        return self.codes(stage, queries)


@dataclass(frozen=True)
class Questions:
    """What the calibration queries ask of the sample."""

    features: pa.Table  # (u,) of the queries
    own: Ids  # (u,): the row in the sample that is the query, or that it is a copy of
    targets: Ids  # (u, j): rows of the sample that stand for its true neighbours
    weights: Scores  # (j,), of sum 1: what each counts


@dataclass(frozen=True)
class Calibration:
    """Fitted filters, and the calibration sample with all its features.

    sample: id, all features and the images' other columns; copies: a row a changed version of a
    sample image: origin (its id), transform, and the features that filters read.
    """

    filters: StageFilters
    sample: pa.Table
    copies: pa.Table

    def within(self, rows: Mask) -> "Calibration":
        """Return the calibration with the sample's ``rows`` (bool) alone: a predicate's."""
        sample = self.sample.filter(pa.array(rows))
        kept = pa.compute.is_in(self.copies["origin"], value_set=sample["id"].combine_chunks())
        return Calibration(self.filters, sample, self.copies.filter(kept))

    def changes(self) -> list[str]:
        """Return the changes that the copies were made by, two each."""
        made = {
            change for pair in self.copies["transform"].to_pylist() for change in pair.split("+")
        }
        return sorted(made - {"original"})

    def questions(self, neighbours: Neighbours, k: int, share: float) -> "Questions":
        """Return what the calibration queries ask.

        Their targets stand for the ``k`` nearest of the whole collection, of which the sample is
        ``share``.
        """
        if neighbours == "copies":
            origin = places(self.copies["origin"].to_numpy(), self.sample["id"].to_numpy())
            return Questions(self.copies, origin, origin[:, None], np.ones(1))
        vectors = embedding_matrix(self.sample["embedding"])
        targets, weights = weighted_neighbours(vectors, k, share, groups(self.sample))
        return Questions(self.sample, np.arange(len(targets)), targets, weights)

    def held(self, k: int, images: int) -> float:
        """Return how many of an image's ``k`` nearest of all ``images`` the sample holds, about."""
        return float(k * self.sample.num_rows / images)

    def nearest(self) -> Scores:
        """Return float64 (n,): the score of each sample image's nearest one of another group."""
        group = groups(self.sample)
        vectors = embedding_matrix(self.sample["embedding"])
        return _nearest(vectors, vectors, group[:, None] == group)

    def nearest_to(self, queries: Queries) -> Scores:
        """Return float64 (q,): the score of the sample image nearest to each query but itself."""
        ids = self.sample["id"].to_numpy()
        own = (queries.ids[:, None] == ids) & queries.stored[:, None]
        return _nearest(queries.vectors, embedding_matrix(self.sample["embedding"]), own)

    def evidence(
        self,
        stages: tuple[str, ...],
        neighbours: Neighbours,
        k: int,
        share: float,
        queries: Mapping[str, Vectors],
        category: Ids,
        costs: StageCosts,
    ) -> Evidence:
        """Return what a plan for ``queries`` (codes by stage) is chosen from.

        ``k`` and ``share`` are those of ``questions``; category int (q,) of each query.
        """
        codes = {stage: self.filters.codes(stage, self.sample) for stage in stages}
        asking = self.questions(neighbours, k, share)
        asked = {s: self.filters.query_codes(s, asking.features, neighbours) for s in stages}
        ranks = {s: neighbour_ranks(asked[s], asking.targets, asking.own, codes[s]) for s in stages}
        among = {s: ranks_among(queries[s], codes[s]) for s in stages}
        weights, images = asking.weights, self.sample.num_rows
        mine = self.category(embedding_matrix(self.sample["embedding"]), neighbours)[asking.own]
        plan = of_planning(len(mine))
        widths = {
            s: category_widths(of[plan], weights, mine[plan], self.categories.buckets, images)
            for s, of in ranks.items()
        }
        ranks = {s: narrowed(of, widths[s][mine], images) for s, of in ranks.items()}
        among = {s: narrowed(of, widths[s][category], images) for s, of in among.items()}
        drawn = neighbours == "semantic" and min(k, images - 1) > 1 == len(weights)
        return Evidence(ranks, weights, among, costs, images, widths, mine, drawn)

    @cached_property
    def categories(self) -> Grid:
        """The k-means cells of the planning queries' embeddings, of A_CATEGORY or more each."""
        planning = embedding_matrix(self.sample["embedding"])[of_planning(self.sample.num_rows)]
        return train_ivf(planning, max(1, min(CATEGORIES, len(planning) // A_CATEGORY)), 0)

    def names(self) -> list[str]:
        """Return the key of the sample image nearest to the middle of each of ``categories``."""
        near = embedding_matrix(self.sample["embedding"]) @ self.categories.cells.T
        keys: list[str] = self.sample["key"].take(pa.array(near.argmax(axis=0))).to_pylist()
        return keys

    def category(self, vectors: Vectors, neighbours: Neighbours) -> Ids:
        """Return int64 (q,): the category of queries f32 (q, d); copies are all of one."""
        if neighbours == "copies":
            return np.zeros(len(vectors), np.int64)
        return self.categories.nearest(vectors, 1)[:, 0].astype(np.int64)


def _nearest(queries: Vectors, vectors: Vectors, own: Mask) -> Scores:
    scores = queries @ vectors.T
    scores[own] = -np.inf
    best: Scores = scores.max(axis=1, initial=-np.inf).astype(np.float64)
    return best


def groups(table: pa.Table) -> Ids:
    """Return int64 (n,): the scene where it is known, else the id: copies share their group."""
    column = table["scene" if "scene" in table.column_names else "id"]
    found: Ids = column.to_numpy()
    return found


def weighted_neighbours(vectors: Vectors, k: int, share: float, group: Ids) -> tuple[Ids, Scores]:
    """Return int64 (n, j) and float (j,): rows that stand for each row's true neighbours.

    A neighbour drawn from the ``k`` nearest of the collection has r - 1 nearer images, r uniform
    from 1 to k; of these a binomial number c is in the sample, which is ``share`` of the
    collection. The (c + 1)-th nearest of other groups in the sample stands for it: as many of the
    sample are nearer as of the true neighbour, and it lies at least as far. The rows are the
    nearest of the sample and the weights the probabilities of c; where one row has most of the
    weight, so that there is little to average over, c is drawn for each query instead.
    """
    scores = vectors @ vectors.T
    scores[group[:, None] == group[None, :]] = -np.inf
    others = max(1, int(np.isfinite(scores).sum(axis=1).min()))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :others]
    weights = nearer_weights(k, share)
    if len(weights) > others:
        weights = np.append(weights[: others - 1], weights[others - 1 :].sum())
    if (weights**2).sum() <= AVERAGED:
        return best[:, : len(weights)], weights
    drawn = np.random.default_rng(0).choice(len(weights), len(vectors), p=weights)
    return np.take_along_axis(best, drawn[:, None], axis=1), np.ones(1)


def nearer_weights(k: int, share: float) -> Scores:
    """Return float (j,), of sum 1: how likely 0, 1, ... of the nearer images are in the sample.

    Those nearer than a neighbour drawn from the ``k`` nearest; the last stands for all beyond RARE.
    """
    from scipy.stats import binom  # here: only a plan needs it

    likely: Scores = binom.sf(np.arange(k), k, share) / (k * share)
    kept = int(np.searchsorted(np.cumsum(likely), 1 - RARE)) + 1
    return np.append(likely[: kept - 1], 1 - likely[: kept - 1].sum())


def fit_calibration(fit: pa.Table, sample: pa.Table, copies: pa.Table) -> Calibration:
    """Fit the filters on ``fit`` (all features) and keep the sample's evidence."""
    return Calibration(fit_filters(fit), sample, copies)


def fit_filters(fit: pa.Table) -> StageFilters:
    """Return the filters fitted on ``fit`` (all features)."""
    vectors = embedding_matrix(fit["embedding"])
    space = fit_space(vectors)
    learned = {
        stage: fit_filter(numbers(fit), vectors, space) for stage, numbers in LEARNED.items()
    }
    return StageFilters(space, learned)
