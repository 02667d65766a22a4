"""A cheap filter fitted to the CNN: features that cost little predict where an embedding lies.

Ridge regression from features to the leading principal components of the CNN's embeddings, on a
small embedded sample. All products are of integers that float64 or float32 hold exactly, so a code
and a score have the same bits in whatever batch they are computed.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import AnyArray, Scores, Vectors
from pipeline.core.files import checksum

COMPONENTS = 64  # or all of an embedding that has fewer; c below
# Products of two codes are at most LENGTH ** 2 < 2 ** 24: float32 sums them without rounding.
LENGTH = 2047
WEIGHT_LEVELS = 2**20
PENALTIES = (10.0, 100.0, 1000.0, 10_000.0)


@dataclass(frozen=True)
class EmbeddingSpace:
    """The leading principal components of embeddings."""

    mean: Vectors  # (d,)
    basis: Vectors  # (c, d)

    @property
    def checksum(self) -> str:
        return checksum(self.mean.tobytes() + self.basis.tobytes())

    def project(self, vectors: Vectors) -> Scores:
        """Return the components float64 (n, c) of f32 (n, d), row by row alike."""
        basis = self.basis.astype(np.float64)
        rows = [(basis * (v.astype(np.float64) - self.mean)).sum(axis=1) for v in vectors]
        return np.stack(rows) if rows else np.empty((0, len(basis)))

    def codes(self, vectors: Vectors) -> Vectors:
        """Return whole numbers f32 (n, c): the direction of each projection."""
        return directions(self.project(vectors))


@dataclass(frozen=True)
class LearnedFilter:
    """Predicts the direction of an image's projection from its integer features."""

    weights: Scores  # (f, c), whole numbers
    step: Scores  # (c,), what one of them stands for
    offset: Scores  # (c,)

    def codes(self, features: AnyArray) -> Vectors:
        """Return whole numbers f32 (n, c) for integer features (n, f)."""
        return directions(features.astype(np.float64) @ self.weights * self.step + self.offset)


def directions(points: Scores) -> Vectors:
    """Return float64 (n, c) scaled to LENGTH and rounded, as f32; their products are cosines."""
    lengths = np.sqrt((points**2).sum(axis=1, keepdims=True))
    whole: Scores = np.trunc(points * (LENGTH / np.maximum(lengths, 1e-12)))
    return whole.astype(np.float32)


def fit_space(vectors: Vectors) -> EmbeddingSpace:
    """Fit the principal components of f32 (n, d), n > COMPONENTS: all where d is smaller."""
    with threadpool_limits(1):  # other numbers of threads give other bits, and take longer
        pca = PCA(min(COMPONENTS, *vectors.shape), svd_solver="full").fit(vectors)
    return EmbeddingSpace(
        pca.mean_.astype(np.float32), np.ascontiguousarray(pca.components_, np.float32)
    )


def fit_filter(features: AnyArray, vectors: Vectors, space: EmbeddingSpace) -> LearnedFilter:
    """Fit integer features (n, f) to the projections of f32 embeddings (n, d) of the same images.

    The ridge penalty is the one of PENALTIES with the least leave-one-out error.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    with threadpool_limits(1):  # as in fit_space
        ridge = RidgeCV(alphas=PENALTIES).fit((features - mean) / spread, space.project(vectors))
    whole = ridge.coef_.T / spread[:, None]
    step = np.maximum(np.abs(whole).max(axis=0), 1e-30) / WEIGHT_LEVELS  # 0 where none differs
    weights = np.rint(whole / step)
    return LearnedFilter(weights, step, ridge.intercept_ - mean @ (weights * step))
