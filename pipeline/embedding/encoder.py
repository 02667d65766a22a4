"""An encoder: squares of pixels in, embeddings out, on what the settings name."""

import functools
from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Pixels, Vectors
from pipeline.embedding.models import MODELS
from pipeline.embedding.settings import Encode, EncoderSettings


@dataclass(frozen=True)
class Encoder:
    """An encoder ready to be sent to workers: ``start()`` makes it run on one thread there.

    For OpenVINO ``network`` and ``constants`` hold the converted model, so that workers load
    neither torch nor the weights file.
    """

    settings: EncoderSettings
    network: bytes = b""
    constants: bytes = b""

    @property
    def dimensions(self) -> int:
        return MODELS[self.settings.model].dimensions

    def start(self) -> Encode:
        """Return (n,s,s,3) -> (n,d), each row of unit length.

        Batches are padded to one fixed shape: an image's embedding must not depend on how many
        others it meets, and kernels differ between shapes.
        """
        return functools.partial(_in_fixed_batches, self._runner(), self.settings.batch_size)

    def _runner(self) -> Encode:
        if self.settings.backend == "openvino":
            from pipeline.embedding.on_openvino import openvino_runner

            return openvino_runner(self.network, self.constants, self.settings.precision)
        from pipeline.embedding.on_torch import torch_runner

        return torch_runner(self.settings)


@functools.lru_cache(maxsize=4)  # converting takes seconds, and jobs run one after the other
def build_encoder(settings: EncoderSettings) -> Encoder:
    """Convert the model for the backend. Raises InputError where the weights are not its own."""
    if settings.backend != "openvino":
        from pipeline.embedding.cnn import load_cnn

        load_cnn(settings.model, settings.weights, settings.input_size)  # as each worker will
        return Encoder(settings)
    from pipeline.embedding.on_openvino import converted, network_bytes

    return Encoder(settings, *network_bytes(converted(settings)))


def _in_fixed_batches(run: Encode, batch_size: int, pixels: Pixels) -> Vectors:
    parts = []
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        padded = np.zeros((batch_size, *pixels.shape[1:]), np.uint8)
        padded[: len(batch)] = batch
        parts.append(run(padded)[: len(batch)])
    embeddings = np.concatenate(parts)
    unit: Vectors = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit
