"""A grid over embeddings: cells with an order of nearness for every vector."""

import io
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Ids, Numbers, Scores, Vectors
from pipeline.core.errors import StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store
from pipeline.search.exact_topk import PAIRS_AT_ONCE, exact_scores

ARRAYS = ("cells", "projection", "offset")
# Cells asked for beyond those wanted: float64 puts them in an order that no batch size changes.
SPARE_CELLS = 4
FEW = 64  # vectors, whose nearest cells are found before FAISS is imported


@dataclass(frozen=True)
class Grid:
    """Buckets numbered by their row in ``cells``; the nearest has the largest inner product.

    Neighbouring rows are near each other, so the buckets of one probe lie close together on disk.
    """

    cells: Vectors  # f32 (buckets, e)
    projection: Vectors  # f32 (d, e): a vector v is seen as v @ projection - offset
    offset: Vectors  # f32 (e,)

    @property
    def buckets(self) -> int:
        return len(self.cells)

    def nearest(self, vectors: Vectors, count: int) -> Numbers:
        """Return the ``count`` nearest buckets int32 (n, count) of f32 (n, d), nearest first.

        Ties go to the lower bucket. At most all buckets are returned.
        """
        seen, count = self._seen(vectors), min(count, self.buckets)
        step = max(1, PAIRS_AT_ONCE // (count + SPARE_CELLS))
        starts = range(0, len(seen), step)
        parts = [self._nearest(seen[start : start + step], count) for start in starts]
        return np.concatenate([np.empty((0, count), np.int32), *parts])

    def nearness(self, vectors: Vectors) -> Scores:
        """Return float64 (n, buckets): the inner product of f32 (n, d) with every bucket's cell."""
        found: Scores = self._seen(vectors).astype(np.float64) @ self.cells.T.astype(np.float64)
        return found

    def _seen(self, vectors: Vectors) -> Vectors:
        if not self.projection.size:
            return np.ascontiguousarray(vectors, np.float32)
        seen = vectors.astype(np.float64) @ self.projection.astype(np.float64) - self.offset
        return np.asarray(seen, np.float32)

    def _nearest(self, seen: Vectors, count: int) -> Numbers:
        wanted = min(count + SPARE_CELLS, self.buckets)
        if wanted > self.buckets // 2:
            scores = seen.astype(np.float64) @ self.cells.T.astype(np.float64)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            return order.astype(np.int32)
        near = _few_nearest if len(seen) <= FEW else _many_nearest
        rows = near(seen, self.cells, wanted)
        scores = exact_scores(seen, self.cells[rows])
        order = np.lexsort((rows, -scores), axis=1)[:, :count]
        return np.take_along_axis(rows, order, axis=1).astype(np.int32)

    def attach(self, store: Store) -> None:
        """Keep the grid in ``store``, with checksums."""
        for name in ARRAYS:
            out = io.BytesIO()
            np.save(out, getattr(self, name), allow_pickle=False)
            store.attach(f"{name}.npy", out.getvalue())

    @classmethod
    def attached(cls, store: Store) -> "Grid | None":
        """Return the grid kept in ``store``, None where none is. Raises StoreError if damaged."""
        found = [store.attached(f"{name}.npy") for name in ARRAYS]
        if any(data is None for data in found):
            return None
        try:
            return cls(*(np.load(io.BytesIO(data), allow_pickle=False) for data in found if data))
        except ValueError as error:
            raise StoreError(
                f"the grid in {store.root}/attached cannot be read ({error}); "
                f"delete {store.root} and run {made_by(store.kind)} again"
            ) from error

    @classmethod
    def required(cls, store: Store) -> "Grid":
        """Return the grid kept in ``store``. Raises StoreError where none is, or it is damaged."""
        grid = cls.attached(store)
        if grid is None:
            raise StoreError(f"{store.root} has no grid; run {made_by(store.kind)} again")
        return grid


def _few_nearest(seen: Vectors, cells: Vectors, count: int) -> Ids:
    """Return (n, count): the rows of ``cells`` with the largest products, in any order."""
    products = seen @ cells.T
    rows: Ids = np.argpartition(products, -count, axis=1)[:, -count:]
    return rows


def _many_nearest(seen: Vectors, cells: Vectors, count: int) -> Ids:
    import faiss

    rows: Ids = faiss.knn(seen, cells, count, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return rows


def whole_space(dimensions: int) -> Grid:
    """Return the grid of one bucket that holds every vector of ``dimensions``."""
    nothing = np.empty((0, 0), np.float32)
    return Grid(np.zeros((1, dimensions), np.float32), nothing, np.empty(0, np.float32))
