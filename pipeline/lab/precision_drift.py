"""What each backend and precision costs, and how far its embeddings lie from the reference's."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from pipeline.core.arrays import Pixels, Vectors
from pipeline.embedding.backends import has_cuda, usable_precisions
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.precision_loss import kept_neighbours
from pipeline.embedding.quantised import quantise
from pipeline.embedding.settings import BackendName, Encode, EncoderSettings, Precision
from pipeline.lab.timing import in_turn, middle_and_ends

BATCHES = 4  # timed at once


@dataclass(frozen=True)
class Drift:
    """Cosine of each image with its own reference, and the neighbours that stayed the same."""

    cosine_mean: float
    cosine_least: float
    recall: float  # share of the reference's k nearest that are still among the k nearest


def drift(reference: Vectors, vectors: Vectors, k: int) -> Drift:
    """Compare f32 (n, d) unit ``vectors`` with the ``reference`` of the same images, n > k."""
    cosine = (reference.astype(np.float64) * vectors).sum(axis=1)
    kept = kept_neighbours(reference, vectors, k)
    return Drift(float(cosine.mean()), float(cosine.min()), kept)


def time_precisions(
    settings: EncoderSettings, squares: Pixels, k: int, rounds: int
) -> list[tuple[Any, ...]]:
    """Embed ``squares`` (n, s, s, 3), n > k, by every backend and precision usable here.

    Returns backend, precision, ms an image (median, least, most), and the Drift at ``k`` from the
    first row's, which is torch f32 where torch can run the model.
    """
    pairs = usable_pairs(settings.model)
    encoders = {" ".join(pair): _encoder(settings, *pair) for pair in pairs}
    vectors = {name: encode(squares) for name, encode in encoders.items()}
    reference = vectors[" ".join(pairs[0])]
    few = squares[: BATCHES * settings.batch_size]
    taken = in_turn({name: partial(encode, few) for name, encode in encoders.items()}, rounds)
    rows: list[tuple[Any, ...]] = []
    for pair, name in zip(pairs, encoders, strict=True):
        apart = drift(reference, vectors[name], k)
        cost = middle_and_ends([1000 * seconds / len(few) for seconds in taken[name]])
        rows.append((*pair, *cost, apart.cosine_mean, apart.cosine_least, apart.recall))
    return rows


def usable_pairs(model: str) -> list[tuple[BackendName, Precision]]:
    """Return every backend and precision that can run ``model`` here, torch f32 first."""
    order: list[BackendName] = ["torch", "openvino", "python"]
    order += ["cuda"] if has_cuda() else []
    backends = [backend for backend in order if backend in kind_of(model).backends]
    return [(backend, p) for backend in backends for p in usable_precisions(backend)]


def _encoder(made: EncoderSettings, backend: BackendName, precision: Precision) -> Encode:
    settings = replace(made, backend=backend, precision=precision)
    return (quantise if precision == "int8" else build_encoder)(settings).start()
