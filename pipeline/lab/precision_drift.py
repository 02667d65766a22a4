"""What each way to run an encoder costs, and how far its embeddings lie from the reference's."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Pixels, Vectors
from pipeline.embedding.backends import has_cuda, usable_precisions
from pipeline.embedding.encoder import build_encoder, in_fixed_batches
from pipeline.embedding.kinds import kind_of, load_model
from pipeline.embedding.models import file_weights
from pipeline.embedding.precision_loss import WHOLE, kept_neighbours
from pipeline.embedding.settings import BackendName, Encode, EncoderSettings, Precision
from pipeline.embedding.stored import built_encoder
from pipeline.images.squares import decode_squares
from pipeline.lab.embed_rivals import EagerNetwork
from pipeline.lab.timing import in_turn, middle_and_ends

EVER = 2**16  # times the square: no image is decoded smaller
TIMED = 32  # images at once, or a batch where that is more
WAYS = ("backend", "precision", "batch", "ms an image", "least", "most", "cosine", "least")


@dataclass(frozen=True)
class Drift:
    """Cosine of each image with its own reference, and the neighbours that stayed the same."""

    cosine_mean: float
    cosine_least: float
    recall: float  # share of the reference's k nearest that are still among the k nearest


@dataclass(frozen=True)
class Way:
    """A way to run an encoder; ``start`` may find that it does not work here."""

    backend: str
    precision: Precision
    batch: int
    start: Callable[[], Encode]


def drift(reference: Vectors, vectors: Vectors, k: int) -> Drift:
    """Compare f32 (n, d) unit ``vectors`` with the ``reference`` of the same images, n > k."""
    cosine = (reference.astype(np.float64) * vectors).sum(axis=1)
    kept = kept_neighbours(reference, vectors, k)
    return Drift(float(cosine.mean()), float(cosine.min()), kept)


def scaled_recall(settings: EncoderSettings, images: pa.Table, squares: Pixels, k: int) -> float:
    """Return the share of the k nearest by whole decoding that ``squares`` of ``images`` keep.

    images: id, key and bytes, all of which decode; squares: (n, s, s, 3) as the settings have them
    decoded, n > k.
    """
    whole = replace(settings.transform.fit, gap=EVER)
    encode = built_encoder(settings).start()
    reference = encode(decode_squares(images, settings.input_size, fit=whole).pixels)
    return kept_neighbours(reference, encode(squares), k)


def time_ways(
    settings: EncoderSettings, squares: Pixels, k: int, rounds: int, batches: Sequence[int]
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Embed ``squares`` (n, s, s, 3), n > k, in every way that works here, on one thread.

    Returns a row a way, WAYS and the recall at ``k`` of the first row's neighbours, which is torch
    f32 where torch can run the model; and what was left out, with the reason.
    """
    ready: list[tuple[Way, Encode]] = []
    left_out = []
    with tempfile.TemporaryDirectory() as folder:
        for way in encoder_ways(settings, batches, Path(folder)):
            try:
                encode = way.start()
                encode(squares[: way.batch])
                ready.append((way, encode))
            except Exception as error:  # compilers and exporters raise anything
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                left_out.append(f"{way.backend} {way.precision}, batch {way.batch}: {reason}")
    vectors = [encode(squares) for _, encode in ready]
    timed = {str(row): _few(squares, *pair) for row, pair in enumerate(ready)}
    taken = in_turn(timed, rounds)
    rows: list[tuple[Any, ...]] = []
    for row, (way, _) in enumerate(ready):
        apart, images = drift(vectors[0], vectors[row], k), len(squares[: max(TIMED, way.batch)])
        cost = middle_and_ends([1000 * seconds / images for seconds in taken[str(row)]])
        said = (way.backend, way.precision, way.batch)
        rows.append((*said, *cost, apart.cosine_mean, apart.cosine_least, apart.recall))
    return rows, left_out


def _few(squares: Pixels, way: Way, encode: Encode) -> Callable[[], object]:
    return partial(encode, squares[: max(TIMED, way.batch)])


def encoder_ways(settings: EncoderSettings, batches: Sequence[int], folder: Path) -> Iterator[Way]:
    """Yield the backends in f32 by every one of ``batches``, in fewer bits by the first of them.

    A network of torch also as torch.compile makes it, and by ONNX Runtime, written into ``folder``.
    """
    for backend, precision in usable_pairs(settings.model):
        for batch in batches if precision == WHOLE else batches[:1]:
            made = replace(settings, backend=backend, precision=precision, batch_size=batch)
            yield Way(backend, precision, batch, partial(_built, made))
    if "torch" in kind_of(settings.model).backends:
        for batch in batches:
            made = replace(settings, backend="torch", precision=WHOLE, batch_size=batch)
            yield Way("torch.compile", WHOLE, batch, partial(_compiled, made))
            yield Way("onnxruntime", WHOLE, batch, partial(_exported, made, folder))


def usable_pairs(model: str) -> list[tuple[BackendName, Precision]]:
    """Return every backend and precision that can run ``model`` here, torch f32 first."""
    order: list[BackendName] = ["torch", "openvino", "onnxruntime", "python"]
    order += ["cuda"] if has_cuda() else []
    of = kind_of(model).backends
    return [(b, p) for b in order if b in of for p in usable_precisions(b, of)]


def _built(settings: EncoderSettings) -> Encode:
    return built_encoder(settings).start()


def _compiled(settings: EncoderSettings) -> Encode:
    import torch

    network = EagerNetwork(settings, threads=1)
    network.module = torch.compile(network.module)
    return partial(in_fixed_batches, network, settings.batch_size)


def _exported(settings: EncoderSettings, folder: Path) -> Encode:
    import torch

    side, path = settings.input_size, folder / f"batch{settings.batch_size}.onnx"
    images = torch.zeros(settings.batch_size, 3, side, side)
    with warnings.catch_warnings():  # torch deprecates the exporter that needs no further package
        warnings.simplefilter("ignore")
        torch.onnx.export(load_model(settings), (images,), str(path), dynamo=False)
    made = replace(settings, model=path.name, weights=file_weights(path), backend="onnxruntime")
    return build_encoder(replace(made, brought=settings.transform)).start()
