"""An inverted-file grid: the Voronoi cells of k-means centroids on the unit sphere.

Jégou, Douze, Schmid: Product quantization for nearest neighbor search, 2011 (the coarse part).
"""

import faiss
import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Vectors
from pipeline.index.grid import Grid

ITERATIONS = 10


def train_ivf(sample: Vectors, buckets: int, seed: int) -> Grid:
    """Return the grid of ``buckets`` spherical k-means cells of f32 (n, d) rows of unit length.

    One thread and a fixed seed: the same sample gives the same bits. With fewer rows than buckets
    every row is a cell of its own.
    """
    buckets = min(buckets, len(sample))
    if buckets == 1:
        centroids = sample[:1]
    else:
        means = faiss.Kmeans(
            sample.shape[1],
            buckets,
            niter=ITERATIONS,
            spherical=True,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=max(1, len(sample)),
        )
        with threadpool_limits(1):
            means.train(np.ascontiguousarray(sample, np.float32))
        centroids = np.asarray(means.centroids)
    return Grid(_near_ones_adjacent(centroids), np.empty((0, 0), np.float32), np.empty(0, "f4"))


def _near_ones_adjacent(centroids: Vectors) -> Vectors:
    if len(centroids) < 3:
        return np.ascontiguousarray(centroids, np.float32)
    order = leaves_list(linkage(centroids.astype(np.float64), "average"))
    return np.ascontiguousarray(centroids[order], np.float32)
