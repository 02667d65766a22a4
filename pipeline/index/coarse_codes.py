"""A vector in 64 bytes, to be compared by the million before any whole vector is read.

The leading principal components of the collection (as in Jégou & Chum: Negative evidences and
co-occurrences in image retrieval, 2012), turned at random so that all carry the same share (as in
Gong & Lazebnik: Iterative quantization, 2011), in one signed byte each. A query is rounded to whole
numbers as well: their products are sums below 2^24, which float32 holds exactly whatever the order
of summing, so every machine and any batch nominates the same candidates.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Scores, Vectors
from pipeline.core.errors import StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store

CODE_BYTES = 64
LARGEST_CODE = 127
EXACT = 2**24 - 1  # whole numbers that float32 holds
CLIPPED = 1e-4  # share of the sample's values that lie beyond the codes
NAME = "codes.npz"

Codes = NDArray[np.int8]  # (n, b)


@dataclass(frozen=True)
class CoarseCoder:
    """Turns f32 (n, d) rows into codes, and queries into what is multiplied with them."""

    projection: Vectors  # f32 (d, b)
    offset: Vectors  # f32 (b,): the collection's mean, projected
    scale: float  # of one step of a code

    def codes(self, vectors: Vectors) -> Codes:
        """Return int8 (n, b) of f32 (n, d)."""
        steps = (self._projected(vectors) - self.offset) / self.scale
        codes: Codes = np.rint(np.clip(steps, -LARGEST_CODE, LARGEST_CODE)).astype(np.int8)
        return codes

    def queries(self, vectors: Vectors) -> Vectors:
        """Return whole numbers, as f32 (q, b), of f32 (q, d): their products rank the codes."""
        seen = self._projected(vectors)
        whole: Vectors = np.rint(seen * _stretch(seen)).astype(np.float32)
        return whole

    def estimating(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """Return float64 (q,) and (q,): times the one, plus the other, products are cosines, about.

        The products are those of ``queries`` of f32 (q, d) with codes.
        """
        seen = self._projected(vectors)
        offset = (seen * self.offset).sum(axis=1)
        return self.scale / _stretch(seen)[:, 0], offset

    def _projected(self, vectors: Vectors) -> Scores:
        seen: Scores = vectors.astype(np.float64) @ self.projection.astype(np.float64)
        return seen

    def attach(self, store: Store) -> None:
        """Keep the coder in ``store``."""
        out = io.BytesIO()
        np.savez(out, projection=self.projection, offset=self.offset, scale=self.scale)
        store.attach(NAME, out.getvalue())

    @classmethod
    def required(cls, store: Store) -> "CoarseCoder":
        """Return the coder kept in ``store``. Raises StoreError where none is."""
        data = store.attached(NAME)
        if data is None:
            raise StoreError(f"{store.root} has no codes; run {made_by(store.kind)} again")
        kept = np.load(io.BytesIO(data), allow_pickle=False)
        return cls(kept["projection"], kept["offset"], float(kept["scale"]))


def _stretch(seen: Scores) -> Scores:
    """Return (q, 1): what projected queries (q, b) are multiplied by to be whole numbers."""
    largest = np.abs(seen).max(axis=1, keepdims=True, initial=1e-30)
    stretch: Scores = EXACT // (LARGEST_CODE * seen.shape[1]) / largest
    return stretch


def train_codes(sample: Vectors, seed: int) -> CoarseCoder:
    """Return the coder of vectors such as f32 (n, d) ``sample``; the same gives the same bits."""
    size = min(CODE_BYTES, sample.shape[1])
    mean = sample.mean(axis=0, dtype=np.float64)
    with threadpool_limits(1):
        covariance = np.cov(sample.T.astype(np.float64)) if len(sample) > 1 else 0.0
        _, axes = np.linalg.eigh(covariance + np.zeros((sample.shape[1], sample.shape[1])))
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    projection = (axes[:, ::-1][:, :size] @ turned).astype(np.float32)
    seen = np.abs((sample - mean) @ projection)
    scale = max(float(np.quantile(seen, 1 - CLIPPED)), 1e-12) / LARGEST_CODE
    return CoarseCoder(projection, (mean @ projection).astype(np.float32), scale)
