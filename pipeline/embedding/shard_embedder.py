"""One shard from image bytes to an embedding shard on disk, all in the worker that reads it."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.entries import ShardEntry
from pipeline.core.folder import Place
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.stopwatch import Stopwatch
from pipeline.core.store import Store
from pipeline.core.tables import ROW_GROUP, embedding_column, unified
from pipeline.embedding.encoder import NO_DIRECTION, NO_EMBEDDING, Encoder, has_direction
from pipeline.embedding.settings import Encode
from pipeline.images.deadline import SECONDS_AN_IMAGE
from pipeline.images.fit import SQUASHED, Fit
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.guard import Guard
from pipeline.images.reader import begun, read_batches
from pipeline.images.source import Source
from pipeline.images.squares import FACTS, QUARANTINE, Squares, Watched, decode_squares, unwatched

READ_AT_ONCE = 32  # images, at least


def _decoded_ahead(
    batches: Iterable[pa.Table],
    size: int,
    threads: int,
    max_pixels: int,
    watched: Watched,
    fit: Fit,
) -> Iterator[tuple[pa.Table, Squares]]:
    """Yield each batch without its bytes, and its squares, while next ones are read and decoded."""
    waiting: deque[tuple[pa.Table, Future[Squares]]] = deque()
    coming = iter(batches)
    with ThreadPoolExecutor(threads + 1) as pool:
        reading = pool.submit(next, coming, None)
        while (batch := reading.result()) is not None:
            reading = pool.submit(next, coming, None)
            facts = batch.select([n for n in batch.column_names if n not in ("bytes", "refused")])
            squares = pool.submit(decode_squares, batch, size, max_pixels, watched, fit)
            waiting.append((facts, squares))
            if len(waiting) > threads:
                facts, squares = waiting.popleft()
                yield facts, squares.result()
        for facts, squares in waiting:
            yield facts, squares.result()


def _encoded(
    waiting: list[Pixels], encode: Encode, least: int
) -> tuple[list[Vectors], list[Pixels]]:
    """Return the vectors of what waits, and what still does: fewer than ``least`` squares."""
    count = sum(map(len, waiting))
    if count < least or not count:
        return [], waiting
    pixels = np.concatenate(waiting)
    now = count - count % least
    return [encode(pixels[:now])], [pixels[now:]]


def embed_images(
    batches: Iterable[pa.Table],
    encode: Encode,
    size: int,
    dimensions: int,
    decode_threads: int = 1,
    at_once: int = 32,
    max_pixels: int = MAX_PIXELS,
    watched: Watched = unwatched,
    fit: Fit = SQUASHED,
) -> tuple[pa.Table, pa.Table]:
    """Embed the tables that read_batches gives.

    Returns (id, key, FACTS, embedding, the source's own columns) of the images that decode, in
    their order, and the quarantine of the others. One thread reads and
    ``decode_threads`` decode ahead of the network; bytes and pixels of one batch a thread and one
    more stand in memory. The network is given multiples of ``at_once`` squares, however few large
    images a batch holds, for it is paid by full batches. Each image is ``watched`` as it decodes.
    One of which the network gives no direction is quarantined as no-embedding.
    """
    vectors, quarantines, parts = [np.empty((0, dimensions), np.float32)], [], []
    waiting: list[Pixels] = []
    for facts, squares in _decoded_ahead(batches, size, decode_threads, max_pixels, watched, fit):
        done, waiting = _encoded([*waiting, squares.pixels], encode, at_once)
        vectors += done
        part = facts.take(pa.array(squares.rows, pa.int64()))
        for place, name in enumerate(FACTS.names):
            part = part.add_column(2 + place, FACTS.field(name), squares.facts[name])
        parts.append(part)
        quarantines.append(squares.quarantine)
        advance(facts.num_rows)
    vectors += _encoded(waiting, encode, 1)[0]
    embeddings = embedding_column(np.concatenate(vectors))
    table = unified(parts).add_column(2 + len(FACTS), "embedding", embeddings)
    usable = has_direction(np.concatenate(vectors))
    quarantines.append(without_direction(table.filter(pa.array(~usable))))
    kept = table if usable.all() else table.filter(pa.array(usable))
    return kept, pa.concat_tables([QUARANTINE.empty_table(), *quarantines])


def without_direction(images: pa.Table) -> pa.Table:
    """Return the quarantine of images of which the network has nothing to say."""
    told = {"reason": NO_EMBEDDING, "detail": NO_DIRECTION}
    columns = [
        pa.repeat(told[field.name], images.num_rows)
        if field.name in told
        else images[field.name]
        if field.name in images.column_names
        else pa.nulls(images.num_rows, field.type)
        for field in QUARANTINE
    ]
    return pa.table(columns, schema=QUARANTINE)


@dataclass(frozen=True)
class EmbedPlan:
    """All a worker needs to embed any shard of a source into a store."""

    name: ClassVar[str] = "embed"
    in_hand: ClassVar[int] = 2
    source: Source
    manifest: pa.Table
    output: Place
    encoder: Encoder
    decode_threads: int = 1
    seconds_an_image: float = SECONDS_AN_IMAGE

    def start(self) -> ShardFunction:
        """Load the model; return the function that embeds one shard and tells what it cost."""
        return ShardEmbedder(self)


class ShardEmbedder:
    """Embeds shards of a source into a store with a model loaded once, one after the other.

    Two threads may call it: while one embeds its shard, the other writes its last, then has the
    first images of the next read.
    """

    def __init__(self, plan: EmbedPlan) -> None:
        self.plan = plan
        self.began = time.time()
        self.encode = plan.encoder.start()
        self.store = Store.open(plan.output, "embeddings")
        self._turn = Lock()

    def __call__(self, shard: int) -> pa.Table:
        """Read one shard batch by batch, embed and write it; return what it cost."""
        watch, images = Stopwatch(), self._images(shard)
        ahead = begun(watch.items("read", images))
        with self._turn:  # also to decode: what kills a worker is then looked for in one shard
            watch.started = time.time()
            # Arrow's pool keeps what it frees: without this the peak creeps up shard by shard.
            pa.default_memory_pool().release_unused()
            with self._guard(shard) as guard, watch.part("embed"):
                table, refused = self._embed(guard.checked(ahead), watch, guard)
            ended = time.time()
        with watch.part("write"):
            entry = self.store.write_shard(shard, table, refused, ROW_GROUP)
        return self._cost(entry, images, watch, ended)

    def _guard(self, shard: int) -> Guard:
        plan, made = self.plan, self.plan.encoder.settings
        size = made.transform.fit.decoded(made.input_size)
        limits = (plan.seconds_an_image, plan.source.max_pixels)
        return Guard(self.store, plan.manifest, shard, size, *limits)

    def _images(self, shard: int) -> "Counted":
        rows = max(self.plan.encoder.settings.batch_size, READ_AT_ONCE)
        return Counted(read_batches(self.plan.source, self.plan.manifest, shard, rows))

    def _embed(
        self, images: Iterable[pa.Table], watch: Stopwatch, guard: Guard
    ) -> tuple[pa.Table, pa.Table]:
        encoder, threads = self.plan.encoder, self.plan.decode_threads
        encode, made = watch.timed("model", self.encode), encoder.settings
        sizes = (made.input_size, encoder.dimensions, threads, made.batch_size)
        limit = self.plan.source.max_pixels
        return embed_images(images, encode, *sizes, limit, guard.watched, made.transform.fit)

    def _cost(
        self, entry: ShardEntry, images: "Counted", watch: Stopwatch, ended: float
    ) -> pa.Table:
        seconds = watch.seconds
        return shard_stats(
            entry.shard,
            images.rows,
            watch.started,
            ended=ended,  # written it is while the next is embedded
            bytes=images.bytes,
            quarantined=entry.quarantined,
            entry=entry._asdict(),
            actor_started=self.began,
            read_seconds=seconds["read"],  # by a thread of its own
            model_seconds=seconds["model"],
            waiting_seconds=seconds["embed"] - seconds["model"],  # for images read and decoded
            write_seconds=seconds["write"],
        )


class Counted:
    """Passes tables of images on and counts their rows, and the bytes in them."""

    def __init__(self, batches: Iterable[pa.Table]) -> None:
        self.batches = batches
        self.rows = self.bytes = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for batch in self.batches:
            self.rows += batch.num_rows
            self.bytes += pc.sum(pc.binary_length(batch["bytes"])).as_py() or 0
            yield batch
