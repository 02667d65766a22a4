"""One shard from image bytes to an embedding shard on disk, all in the worker that reads it."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.stopwatch import Stopwatch
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.embedding.encoder import Encoder
from pipeline.embedding.settings import Encode, EncoderSettings
from pipeline.images.decode import DECODER
from pipeline.images.reader import read_shard
from pipeline.images.resize import RESIZER
from pipeline.images.source import Source
from pipeline.images.squares import QUARANTINE, Squares, decode_squares


def embedding_identity(settings: EncoderSettings) -> dict[str, Any]:
    """Return what an embedding's value depends on beside its image: never mixed in one store."""
    return {
        "model": settings.model,
        "weights_sha256": settings.weights.sha256,
        "backend": settings.backend,
        "precision": settings.precision,
        "input_size": settings.input_size,
        "batch_size": settings.batch_size,
        "decoder": DECODER,
        "resizer": RESIZER,
    }


def _decoded_ahead(
    images: pa.Table, size: int, batch_size: int, threads: int
) -> Iterator[tuple[int, Squares]]:
    """Yield each batch's first row and squares, in order, while the next ones are decoded."""
    waiting: deque[tuple[int, Future[Squares]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, images.num_rows, batch_size):
            batch = images.slice(start, batch_size)
            waiting.append((start, pool.submit(decode_squares, batch, size)))
            if len(waiting) > threads:
                first, squares = waiting.popleft()
                yield first, squares.result()
        for first, squares in waiting:
            yield first, squares.result()


def embed_images(
    images: pa.Table,
    encode: Encode,
    size: int,
    batch_size: int,
    dimensions: int,
    decode_threads: int = 1,
) -> tuple[pa.Table, pa.Table]:
    """Embed the table read_shard gives.

    Returns (id, key, width, height, embedding, the source's own columns) of the images that
    decode, in their order, and the quarantine of the others. ``decode_threads`` threads decode
    ahead of the network; pixels of one batch a thread and one more stand in memory.
    """
    vectors, quarantines, kept = [np.empty((0, dimensions), np.float32)], [], []
    widths: list[int] = []
    heights: list[int] = []
    for start, squares in _decoded_ahead(images, size, batch_size, decode_threads):
        if squares.rows:
            vectors.append(encode(squares.pixels))
        kept += [start + row for row in squares.rows]
        widths += squares.widths
        heights += squares.heights
        quarantines.append(squares.quarantine)
    found = images.drop_columns("bytes").take(pa.array(kept, pa.int64()))
    columns = {
        "id": found["id"],
        "key": found["key"],
        "width": pa.array(widths, pa.int32()),
        "height": pa.array(heights, pa.int32()),
        "embedding": embedding_column(np.concatenate(vectors)),
    }
    columns |= {name: found[name] for name in found.column_names if name not in ("id", "key")}
    return pa.table(columns), pa.concat_tables([QUARANTINE.empty_table(), *quarantines])


@dataclass(frozen=True)
class EmbedPlan:
    """All a worker needs to embed any shard of a source into a store."""

    name: ClassVar[str] = "embed"
    source: Source
    manifest: pa.Table
    output: Path
    encoder: Encoder
    decode_threads: int = 1

    def start(self) -> ShardFunction:
        """Load the model; return the function that embeds one shard and tells what it cost."""
        import torch

        torch.set_num_threads(1)
        return ShardEmbedder(self)


class ShardEmbedder:
    """Embeds shards of a source into a store, one after the other, with a model loaded once."""

    def __init__(self, plan: EmbedPlan) -> None:
        self.plan = plan
        self.began = time.time()
        self.encode = plan.encoder.start()
        self.store = Store.open(plan.output, "embeddings")

    def __call__(self, shard: int) -> pa.Table:
        """Read one shard, embed and write it; return what it cost."""
        watch = Stopwatch()
        with watch.part("read"):
            images = self._read(shard)
        with watch.part("embed"):
            table, refused = self._embed(images, watch)
        with watch.part("write"):
            self.store.write_shard(shard, table, refused)
        return self._cost(shard, images, refused, watch)

    def _read(self, shard: int) -> pa.Table:
        # Arrow's pool keeps what it frees: without this the peak creeps up shard by shard.
        pa.default_memory_pool().release_unused()
        return read_shard(self.plan.source, self.plan.manifest, shard)

    def _embed(self, images: pa.Table, watch: Stopwatch) -> tuple[pa.Table, pa.Table]:
        encoder = self.plan.encoder
        return embed_images(
            images,
            watch.timed("model", self.encode),
            encoder.settings.input_size,
            encoder.settings.batch_size,
            encoder.dimensions,
            self.plan.decode_threads,
        )

    def _cost(self, shard: int, images: pa.Table, refused: pa.Table, watch: Stopwatch) -> pa.Table:
        seconds = watch.seconds
        return shard_stats(
            shard,
            images.num_rows,
            watch.started,
            bytes=pa.compute.sum(pa.compute.binary_length(images["bytes"])).as_py() or 0,
            quarantined=refused.num_rows,
            actor_started=self.began,
            read_seconds=seconds["read"],
            model_seconds=seconds["model"],
            waiting_seconds=seconds["embed"] - seconds["model"],  # for images to be decoded
            write_seconds=seconds["write"],
        )
