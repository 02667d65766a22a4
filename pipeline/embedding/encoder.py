"""An encoder: squares of pixels in, embeddings out, on what the settings name."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.arrays import Mask, Pixels, Vectors
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.models import MODELS
from pipeline.embedding.settings import Encode, EncoderSettings
from pipeline.embedding.trial import tried_dimensions

NO_EMBEDDING = "no-embedding"  # the reason in a quarantine
NO_DIRECTION = "the model gives it NaN, or a row of no length"


@dataclass(frozen=True)
class Encoder:
    """An encoder ready to be sent to workers: ``start()`` makes it run on one thread there.

    For OpenVINO ``network`` and ``constants`` hold the converted model, so that workers load
    neither torch nor the weights file.
    """

    settings: EncoderSettings
    dimensions: int
    network: bytes = b""
    constants: bytes = b""

    def start(self) -> Encode:
        """Return (n,s,s,3) -> (n,d), each row of unit length, NaN where it has none.

        Batches are padded to one fixed shape: an image's embedding must not depend on how many
        others it meets, and kernels differ between shapes.
        """
        return functools.partial(in_fixed_batches, self._runner(), self.settings.batch_size)

    def _runner(self) -> Encode:
        if self.settings.backend == "openvino":
            from pipeline.embedding.on_openvino import openvino_runner

            return openvino_runner(self.network, self.constants, self.settings.precision)
        if self.settings.backend == "python":
            from pipeline.embedding.kinds.function import load

            return load(self.settings)
        if kind_of(self.settings.model).of_onnx:
            from pipeline.embedding.on_onnxruntime import onnxruntime_runner

            return onnxruntime_runner(self.settings)
        from pipeline.embedding.on_torch import torch_runner

        return torch_runner(self.settings)


def encoder_of(settings: EncoderSettings, network: bytes, constants: bytes) -> Encoder:
    """Return the encoder of a network that is converted already, as ``build_encoder`` does."""
    if settings.model in MODELS:
        return Encoder(settings, MODELS[settings.model].dimensions, network, constants)
    return _tried(Encoder(settings, 0, network, constants))


@functools.lru_cache(maxsize=4)  # converting takes seconds, and jobs run one after the other
def build_encoder(settings: EncoderSettings) -> Encoder:
    """Convert the model for the backend, and try it on a batch.

    Raises InputError where the weights are not its own, or what it gives is no embedding.
    """
    if settings.backend != "openvino":
        return _tried(Encoder(settings, 0))
    from pipeline.embedding.on_openvino import converted, network_bytes

    return _tried(Encoder(settings, 0, *network_bytes(converted(settings))))


def _tried(encoder: Encoder) -> Encoder:
    settings = encoder.settings
    run = _on_cpu(settings) if settings.backend == "cuda" else encoder._runner()
    return replace(encoder, dimensions=tried_dimensions(run, settings))


def _on_cpu(settings: EncoderSettings) -> Encode:
    """Return the network on this machine's CPU: the GPUs are the workers'."""
    if kind_of(settings.model).of_onnx:
        from pipeline.embedding.on_onnxruntime import onnxruntime_runner

        return onnxruntime_runner(settings, "onnxruntime")
    from pipeline.embedding.on_torch import torch_runner_on

    return torch_runner_on("cpu", replace(settings, precision="f32"))


def in_fixed_batches(run: Encode, batch_size: int, pixels: Pixels) -> Vectors:
    """Return f32 (n, d) of unit length for uint8 (n, s, s, 3), ``batch_size`` at once, padded."""
    parts = []
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        padded = np.zeros((batch_size, *pixels.shape[1:]), np.uint8)
        padded[: len(batch)] = batch
        parts.append(run(padded)[: len(batch)])
    return unit_rows(np.concatenate(parts))


def unit_rows(rows: Vectors) -> Vectors:
    """Return f32 (n, d) of unit length, NaN where a row has none."""
    exact = rows.astype(np.float64)  # squares of f32 may be none of its numbers
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Vectors = (exact / np.linalg.norm(exact, axis=1, keepdims=True)).astype(np.float32)
    return unit


def has_direction(vectors: Vectors) -> Mask:
    """Return bool (n,): whether rows f32 (n, d) that an encoder gave are embeddings at all."""
    whole: Mask = np.atleast_1d(np.isfinite(vectors).all(axis=1))
    return whole
