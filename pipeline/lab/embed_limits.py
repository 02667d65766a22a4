"""How fast this hardware could embed: its parts timed alone, on one core and on all at once."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch

from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.decode import decode_rgb
from pipeline.images.resize import resize_square


def parts_alone(images: list[bytes], settings: EncoderSettings) -> dict[str, float]:
    """Return ms an image of decode, resize and model, each alone on one thread."""
    torch.set_num_threads(1)
    size, fit = settings.input_size, settings.transform.fit
    encode = build_encoder(settings).start()
    began = time.perf_counter()
    decoded = [decode_rgb(data, fit.decoded(size)).pixels for data in images]
    after_decode = time.perf_counter()
    squares = np.stack([resize_square(pixels, size, fit) for pixels in decoded])
    after_resize = time.perf_counter()
    encode(squares[: settings.batch_size])
    warm = time.perf_counter()
    encode(squares)
    ended = time.perf_counter()
    spans = (after_decode - began, after_resize - after_decode, ended - warm)
    names = ("decode", "resize", "model")
    return {n: 1000 * s / len(images) for n, s in zip(names, spans, strict=True)}


@dataclass(frozen=True)
class PartsPlan:
    """The parts timed in as many processes at once as there are workers, a shard each.

    Cores share caches and memory: with all of them busy none is as fast as one alone.
    """

    name: ClassVar[str] = "parts alone"
    images: list[bytes]
    settings: EncoderSettings

    def start(self) -> ShardFunction:
        """Return the function that times the parts, adding ``ms`` an image to shard_stats."""

        def time_parts(shard: int) -> pa.Table:
            started = time.time()
            parts_alone(self.images, self.settings)  # not counted: others may still be starting
            ms = sum(parts_alone(self.images, self.settings).values())
            return shard_stats(shard, len(self.images), started, ms=ms)

        return time_parts
