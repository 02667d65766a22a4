"""How far embeddings of another precision or backend lie from the reference's."""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np


@dataclass(frozen=True)
class Drift:
    """Cosine of each image with its own reference, and the neighbours that stayed the same."""

    cosine_mean: float
    cosine_least: float
    recall: float  # share of the reference's k nearest that are still among the k nearest


def drift(reference: np.ndarray[Any, Any], vectors: np.ndarray[Any, Any], k: int) -> Drift:
    """Compare f32 (n, d) unit ``vectors`` with the ``reference`` of the same images, n > k."""
    cosine = (reference.astype(np.float64) * vectors).sum(axis=1)
    wanted, found = _neighbours(reference, k), _neighbours(vectors, k)
    kept = [len(set(a) & set(b)) for a, b in zip(wanted, found, strict=True)]
    return Drift(float(cosine.mean()), float(cosine.min()), float(np.mean(kept)) / k)


def _neighbours(vectors: np.ndarray[Any, Any], k: int) -> list[list[int]]:
    _, rows = faiss.knn(vectors, vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    return [[row for row in found if row != own][:k] for own, found in enumerate(rows.tolist())]
