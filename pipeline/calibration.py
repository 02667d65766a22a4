"""What a cascade knows of a collection: filters fitted on one sample, evidence from another.

Both samples are drawn from the signed images at random; the first is for fitting alone. Of the
second every image is a query too: for semantic neighbours it asks for its nearest images in the
sample, for copies a changed version of it asks for the image itself.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from pipeline.cascade_plan import Evidence, StageCosts, neighbour_ranks, ranks_among
from pipeline.errors import InputError, StoreError
from pipeline.feature_cache import rows_of
from pipeline.learned_filter import (
    COMPONENTS,
    EmbeddingSpace,
    LearnedFilter,
    fit_filter,
    fit_space,
    rough_levels,
)
from pipeline.shard_embedder import embedding_matrix
from pipeline.store import Store, parquet_bytes

Neighbours = Literal["semantic", "copies"]
CALLED: dict[Neighbours, str] = {"semantic": "semantic neighbours", "copies": "copies"}
FILTERS, SAMPLE, COPIES = "filters.safetensors", "calibration.parquet", "copies.parquet"
LEAST_IMAGES = 2 * (COMPONENTS + 1)


def draw_samples(
    ids: np.ndarray[Any, Any], fit: int, calibration: int, seed: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
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
class Calibration:
    """Fitted filters, and the calibration sample with all its features.

    sample: id, embedding, signature, rough and the images' other columns; copies: a row a changed
    version of a sample image: origin (its id), transform, signature, rough.
    """

    space: EmbeddingSpace
    filters: dict[str, LearnedFilter]  # "signature", "rough"
    sample: pa.Table
    copies: pa.Table

    def codes(self, stage: str, features: pa.Table) -> np.ndarray[Any, Any]:
        """Return the codes f32 (n, 64) by which ``stage`` knows images with these features."""
        if stage == "pca":
            return self.space.codes(embedding_matrix(features["embedding"]))
        return self.filters[stage].codes(stage_features(stage, features))

    def query_codes(
        self, stage: str, queries: pa.Table, neighbours: Neighbours
    ) -> np.ndarray[Any, Any]:
        """Return the codes f32 (q, 64) by which queries ask.

        For semantic neighbours a query asks by its own embedding, which is better than what the
        filter predicts of it; a copy is found best by what the filter says of both alike.
        """
        if neighbours == "semantic":
            return self.space.codes(embedding_matrix(queries["embedding"]))
        return self.codes(stage, queries)

    def within(self, rows: np.ndarray[Any, Any]) -> "Calibration":
        """Return the calibration with the sample's ``rows`` (bool) alone: a predicate's."""
        sample = self.sample.filter(pa.array(rows))
        kept = pa.compute.is_in(self.copies["origin"], value_set=sample["id"].combine_chunks())
        return Calibration(self.space, self.filters, sample, self.copies.filter(kept))

    def evidence(
        self,
        stages: tuple[str, ...],
        neighbours: Neighbours,
        nearest: int,
        queries: dict[str, np.ndarray[Any, Any]],
        costs: StageCosts,
    ) -> Evidence:
        """Return what a plan for ``queries`` (codes by stage) is chosen from.

        nearest: of how many nearest images in the sample a query's neighbour is drawn.
        """
        codes = {stage: self.codes(stage, self.sample) for stage in stages}
        if neighbours == "copies":
            asking, own = self.copies, self._rows_of(self.copies["origin"].to_numpy())
            targets = own
        else:
            asking, own = self.sample, np.arange(self.sample.num_rows)
            vectors = embedding_matrix(self.sample["embedding"])
            targets = draw_neighbours(vectors, nearest, groups(self.sample))
        asked = {stage: self.query_codes(stage, asking, neighbours) for stage in stages}
        ranks = {s: neighbour_ranks(asked[s], targets, own, codes[s]) for s in stages}
        among = {s: ranks_among(queries[s], codes[s]) for s in stages}
        return Evidence(ranks, among, costs, self.sample.num_rows)

    def _rows_of(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        known: np.ndarray[Any, Any] = self.sample["id"].to_numpy()
        return rows_of(ids, known, np.arange(len(known)))


def stage_features(stage: str, table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the whole numbers (n, f) that ``stage``'s filter reads: "signature" or "rough"."""
    signatures = embedding_matrix(table["signature"])
    if stage == "signature":
        return signatures
    rough = rough_levels(embedding_matrix(table["rough"]))
    return np.concatenate([rough, signatures.astype(np.int32)], axis=1)


def groups(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return int64 (n,): the scene where it is known, else the id: copies share their group."""
    column = table["scene" if "scene" in table.column_names else "id"]
    found: np.ndarray[Any, Any] = column.to_numpy()
    return found


def draw_neighbours(
    vectors: np.ndarray[Any, Any], nearest: int, group: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return int64 (n,): for each row one of its ``nearest`` rows of other groups, at random."""
    scores = vectors @ vectors.T
    scores[group[:, None] == group[None, :]] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :nearest]
    chosen = np.random.default_rng(0).integers(best.shape[1], size=len(best))
    return best[np.arange(len(best)), chosen]


def fit_calibration(fit: pa.Table, sample: pa.Table, copies: pa.Table) -> Calibration:
    """Fit the filters on ``fit`` (embedding, signature, rough) and keep the sample's evidence."""
    vectors = embedding_matrix(fit["embedding"])
    space = fit_space(vectors)
    filters = {
        stage: fit_filter(stage_features(stage, fit), vectors, space)
        for stage in ("signature", "rough")
    }
    return Calibration(space, filters, sample, copies)


def keep_calibration(store: Store, calibration: Calibration) -> None:
    """Keep ``calibration`` beside the signatures, each file with its checksum."""
    arrays = {"mean": calibration.space.mean, "basis": calibration.space.basis}
    for stage, learned in calibration.filters.items():
        arrays |= {f"{stage}.{n}": np.ascontiguousarray(v) for n, v in vars(learned).items()}
    store.attach(SAMPLE, parquet_bytes(calibration.sample))
    store.attach(COPIES, parquet_bytes(calibration.copies))
    store.attach(FILTERS, save(arrays))


def read_calibration(store: Store) -> Calibration:
    """Return what keep_calibration kept. Raises StoreError where there is none."""
    filters, sample, copies = (store.attached(name) for name in (FILTERS, SAMPLE, COPIES))
    if filters is None or sample is None or copies is None:
        raise StoreError(f"{store.root} is not calibrated; run sluice calibrate first")
    arrays = load(filters)
    learned = {
        stage: LearnedFilter(*(arrays[f"{stage}.{n}"] for n in ("weights", "step", "offset")))
        for stage in ("signature", "rough")
    }
    space = EmbeddingSpace(arrays["mean"], arrays["basis"])
    tables = (pq.read_table(pa.BufferReader(data)) for data in (sample, copies))
    return Calibration(space, learned, *tables)
