"""A vector in 64 bytes, to be compared by the million before any whole vector is read.

The leading principal components of the collection (as in Jégou & Chum: Negative evidences and
co-occurrences in image retrieval, 2012), turned at random so that all carry the same share (as in
Gong & Lazebnik: Iterative quantization, 2011). Many of them with few bits each or few with many:
what loses the least of the collection's own vectors is taken. Rare kinds of images lie where the
leading components are blind, and more of them are seen. A code's numbers are odd whole ones, and a
query is rounded to whole numbers as well: their products are sums below 2^24, which float32 holds
exactly whatever the order of summing, so every machine and any batch nominates the same candidates.
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
BYTE = 8  # bits
# Steps of the uniform quantizers of so many bits that lose the least of normal values, in their
# standard deviations (Max: Quantizing for minimum distortion, 1960).
STEPS = {8: 0.0308, 4: 0.3352, 2: 0.9957}
EXACT = 2**24 - 1  # whole numbers that float32 holds
TRIED = 10_000  # vectors of the sample that choose the bits
NAME = "codes.npz"

Codes = NDArray[np.uint8]  # (n, b), of BYTE / bits numbers a byte


@dataclass(frozen=True)
class CoarseCoder:
    """Turns f32 (n, d) rows into codes, and queries into what is multiplied with them."""

    projection: Vectors  # f32 (d, c)
    offset: Vectors  # f32 (c,): the collection's mean, projected
    scale: float  # of one in a code
    bits: int  # of a number in a code

    def codes(self, vectors: Vectors) -> Codes:
        """Return uint8 (n, b) of f32 (n, d)."""
        steps, levels = (self._projected(vectors) - self.offset) / (2 * self.scale), 2**self.bits
        level = np.clip(np.floor(steps) + levels // 2, 0, levels - 1).astype(np.uint8)
        places = np.arange(BYTE // self.bits, dtype=np.uint8) * np.uint8(self.bits)
        packed = level.reshape(len(level), -1, len(places)) << places
        codes: Codes = packed.sum(axis=2, dtype=np.uint8)
        return codes

    def queries(self, vectors: Vectors) -> Vectors:
        """Return whole numbers, as f32 (q, c), of f32 (q, d): their products rank the codes."""
        seen = self._projected(vectors)
        whole: Vectors = np.rint(seen * self._stretch(seen)).astype(np.float32)
        return whole

    def estimating(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """Return float64 (q,) and (q,): times the one, plus the other, products are cosines, about.

        The products are those of ``queries`` of f32 (q, d) with unpacked codes.
        """
        seen = self._projected(vectors)
        offset = (seen * self.offset).sum(axis=1)
        return self.scale / self._stretch(seen)[:, 0], offset

    def _projected(self, vectors: Vectors) -> Scores:
        seen: Scores = vectors.astype(np.float64) @ self.projection.astype(np.float64)
        return seen

    def _stretch(self, seen: Scores) -> Scores:
        """Return (q, 1): what projected queries (q, c) are multiplied by to be whole numbers."""
        largest = np.abs(seen).max(axis=1, keepdims=True, initial=1e-30)
        stretch: Scores = EXACT // ((2**self.bits - 1) * seen.shape[1]) / largest
        return stretch

    def attach(self, store: Store) -> None:
        """Keep the coder in ``store``."""
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **vars(self))
        store.attach(NAME, out.getvalue())

    @classmethod
    def required(cls, store: Store) -> "CoarseCoder":
        """Return the coder kept in ``store``. Raises StoreError where none is."""
        data = store.attached(NAME)
        if data is None:
            raise StoreError(f"{store.root} has no codes; run {made_by(store.kind)} again")
        kept = np.load(io.BytesIO(data), allow_pickle=False)
        return cls(kept["projection"], kept["offset"], float(kept["scale"]), int(kept["bits"]))


def unpacked(codes: Codes, bits: int) -> Vectors:
    """Return the odd whole numbers f32 (n, c) that uint8 (n, b) ``codes`` hold, ``bits`` each."""
    levels = np.arange(2**BYTE)[:, None] >> np.arange(0, BYTE, bits) & (2**bits - 1)
    numbers = (2 * levels - (2**bits - 1)).astype(np.float32)
    found: Vectors = numbers.take(codes, axis=0)
    return found.reshape(len(codes), codes.shape[1] * numbers.shape[1])


def train_codes(sample: Vectors, seed: int) -> CoarseCoder:
    """Return the coder of vectors such as f32 (n, d) ``sample``; the same gives the same bits."""
    mean, dimensions = sample.mean(axis=0, dtype=np.float64), sample.shape[1]
    with threadpool_limits(1):
        covariance = np.cov(sample.T.astype(np.float64)) if len(sample) > 1 else 0.0
        _, axes = np.linalg.eigh(covariance + np.zeros((dimensions, dimensions)))
        some = sample[:: -(-len(sample) // TRIED)]
        coders = [_coder(some, mean, axes[:, ::-1], bits, seed) for bits in STEPS]
        return min(coders, key=lambda coder: _lost(coder, some, mean))


def _coder(sample: Vectors, mean: Scores, axes: Scores, bits: int, seed: int) -> CoarseCoder:
    """Return the coder by so many of the ``axes`` (d, d), the leading ones first."""
    a_byte = BYTE // bits
    size = min(CODE_BYTES, max(1, sample.shape[1] // a_byte)) * a_byte
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    leading = axes[:, :size]
    projection = (leading @ turned[: leading.shape[1]]).astype(np.float32)
    deviation = float(np.sqrt(np.square((sample - mean) @ projection).mean()))
    scale = max(deviation * STEPS[bits], 1e-12) / 2
    return CoarseCoder(projection, (mean @ projection).astype(np.float32), scale, bits)


def _lost(coder: CoarseCoder, vectors: Vectors, mean: Scores) -> float:
    """Return the mean square of what codes leave out of f32 (n, d) ``vectors``."""
    coded = unpacked(coder.codes(vectors), coder.bits) * coder.scale
    left = vectors - mean - coded @ coder.projection.T.astype(np.float64)
    return float(np.square(left).sum(axis=1).mean())
