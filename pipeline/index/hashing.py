"""A hash grid: random hyperplanes through a sample's principal components.

Charikar: Similarity estimation techniques from rounding algorithms, 2002; neighbouring buckets are
taken in the order of Lv et al.: Multi-probe LSH, 2007. With signs s, c in {-1, 1} the cost of the
bits in which bucket c differs from a vector's projections p is (sum |p| - p.c) / 2, so the nearest
bucket is the one with the largest inner product, as in a grid of centroids.
"""

from math import ceil, log2

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Vectors
from pipeline.index.grid import Grid


def train_hash(sample: Vectors, buckets: int, seed: int) -> Grid:
    """Return a grid of 2^bits buckets, at least ``buckets``, over f32 (n, d) rows.

    The hyperplanes are random in the span of the sample's ``bits`` leading principal components,
    whitened, and pass through its mean. The same sample and seed give the same bits.
    """
    bits = min(max(1, ceil(log2(buckets))), sample.shape[1])
    mean = sample.mean(axis=0, dtype=np.float64)
    with threadpool_limits(1):
        covariance = np.cov(sample.T.astype(np.float64))
        values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    leading = vectors[:, ::-1][:, :bits] / np.sqrt(np.maximum(values[::-1][:bits], 1e-12))
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, bits)))
    projection = (leading @ rotation).astype(np.float32)
    codes = (np.arange(2**bits)[:, None] >> np.arange(bits)[::-1]) & 1
    return Grid((2 * codes - 1).astype(np.float32), projection, (mean @ projection).astype("f4"))
