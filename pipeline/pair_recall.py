"""The share of all similar pairs that a join found, from a sample of images compared with all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.binomial_bound import lower_bound


@dataclass(frozen=True)
class PairRecall:
    """Found and true pairs of the sampled images, and a bound that needs no independence."""

    images: int  # sampled
    true: int  # pairs they are in, by brute force over all images
    found: int
    drawn: int  # pairs drawn uniformly from all pairs, see ``pair_recall``
    drawn_found: int
    confidence: float

    @property
    def recall(self) -> float:
        return self.found / self.true if self.true else float("nan")

    @property
    def low(self) -> float:
        """Clopper-Pearson lower bound on the recall over all pairs."""
        return lower_bound(self.drawn_found, self.drawn, self.confidence)


def pair_recall(
    true: pa.Table, found: pa.Table, images: int, confidence: float, seed: int = 0
) -> PairRecall:
    """Compare ``true`` (image, partner), all pairs of ``images`` sampled, with ``found`` (a, b).

    An image's pairs stand and fall together, so the bound counts one pair an image: an image with
    n partners is taken with chance n / max n, and one of its pairs drawn. Each pair of the
    collection is then as likely as any other, and the draws are independent.
    """
    image, partner = true["image"].to_numpy(), true["partner"].to_numpy()
    hits = _contains(found, np.minimum(image, partner), np.maximum(image, partner))
    order = np.lexsort((partner, image))
    image, hits = image[order], hits[order]
    _, first, counts = np.unique(image, return_index=True, return_counts=True)
    rng = np.random.default_rng(seed)
    taken = rng.random(len(counts)) < counts / max(1, counts.max(initial=1))
    picked = first + (rng.random(len(counts)) * counts).astype(np.int64)
    drawn = hits[picked[taken]]
    sizes = (images, len(image), int(hits.sum()), len(drawn), int(drawn.sum()))
    return PairRecall(*sizes, confidence)


def _contains(
    found: pa.Table, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    kind = [("a", np.int64), ("b", np.int64)]
    known, asked = np.empty(found.num_rows, kind), np.empty(len(a), kind)
    known["a"], known["b"] = found["a"].to_numpy(), found["b"].to_numpy()
    asked["a"], asked["b"] = a, b
    return np.isin(asked, known)
