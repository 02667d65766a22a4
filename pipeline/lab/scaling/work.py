"""The work that `sluice lab scale` times: for a pool of workers, and as a plain program alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.shard_signer import SignPlan, signature_identity
from pipeline.core.arrays import Ids, Vectors
from pipeline.core.files import write_atomically
from pipeline.core.spread import ShardPlan, Spread
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.dedup.join_shard import JoinPlan
from pipeline.embedding.encoder import Encoder
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.shard_embedder import EmbedPlan
from pipeline.images.source import Source
from pipeline.index.partitions import Partitions
from pipeline.lab.scaling.emulated import EmulatedPlan
from pipeline.lab.scaling.single_threaded import (
    Found,
    embed_single_threaded,
    join_single_threaded,
    search_single_threaded,
    sign_single_threaded,
)
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import SPARE, CertifiedMerge, Merged, search_certified
from pipeline.search.shard_searcher import SearchPlan, read_part

Plan = Callable[[], object]
Take = Callable[[Iterable[pa.Table], Spread], object]


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Work:
    """One run's work. ``plan`` and ``take`` are the two ends of a pool; ``alone`` needs none.

    plan_source: what the driver does before there are workers. take: called on the driver with the
    shards' answers as they come, and with the pool, which it may give another plan. write: takes
    what ``take`` returned. alone: does the same work in this process, writing too, and returns the
    rows that the shards' answers count: images, of a join its partitions.
    """

    plan: ShardPlan
    shards: list[int]
    take: Take
    alone: Callable[[], int]
    plan_source: Plan = _nothing
    write: Callable[[Any], object] = _nothing


def emulated_work(plan: EmulatedPlan, k: int) -> Work:
    """Return the work of sleeping; made-up answers of which the best ``k`` are merged."""

    def merge(tables: Iterable[pa.Table]) -> Merged:
        merging = CertifiedMerge(plan.queries, k)
        for table in tables:
            merging.add(read_part(table))
        return merging.result()

    def alone() -> int:
        merge(map(plan.start(), plan.shards))
        return plan.images

    return Work(plan, plan.shards, lambda tables, spread: merge(tables), alone)


def embed_work(
    source: Source, manifest: pa.Table, encoder: Encoder, scratch: Path, plan_source: Plan
) -> Work:
    """Return the work of embedding the images of ``manifest`` into the folder ``scratch``."""
    store = Store.create(scratch, "embeddings", embedding_identity(encoder.settings))
    plan = EmbedPlan(source, manifest, scratch, encoder)
    output, shards = scratch / "all.parquet", shards_of(manifest)
    return Work(
        plan,
        shards,
        _take_all,
        lambda: embed_single_threaded(source, manifest, encoder, output),
        plan_source,
        lambda taken: store.finish(len(shards)),
    )


def sign_work(source: Source, manifest: pa.Table, scratch: Path, plan_source: Plan) -> Work:
    """Return the work of signing the images of ``manifest`` into the folder ``scratch``."""
    store = Store.create(scratch, "signatures", signature_identity())
    plan = SignPlan(source, manifest, scratch)
    output, shards = scratch / "all.parquet", shards_of(manifest)
    return Work(
        plan,
        shards,
        _take_all,
        lambda: sign_single_threaded(source, manifest, output),
        plan_source,
        lambda taken: store.finish(len(shards)),
    )


def join_work(
    embeddings: Store, parts: Store, partitions: Partitions, similarity: float, scratch: Path
) -> Work:
    """Return the work of joining the vectors of ``embeddings``, which lie sorted in ``parts``."""
    store = Store.create(scratch, "pairs", {})
    shards = range(partitions.generations[-1])
    numbers = [embeddings.manifest()[number].shard for number in shards]
    files = [Path(str(embeddings.shards.path(number))) for number in numbers]

    def alone() -> int:
        join_single_threaded(files, similarity, scratch / "all.parquet")
        return partitions.parts

    return Work(
        JoinPlan(parts.root, store.root, partitions, similarity),
        list(range(partitions.parts)),
        _take_all,
        alone,
        parts.entries,
        lambda taken: store.finish(partitions.parts),
    )


def search_work(
    embeddings: Store, shards: list[int], queries: Vectors, k: int, scratch: Path
) -> Work:
    """Return the work of finding the exact ``k`` best of ``shards`` for queries f32 (q, d)."""

    def ask(rows: Ids, depth: int) -> SearchPlan:
        return SearchPlan(embeddings.root, queries[rows], depth)

    first = ask(np.arange(len(queries)), k + SPARE)

    def take(tables: Iterable[pa.Table], spread: Spread) -> Merged:
        def parts(rows: Ids, depth: int) -> Iterator[ShardTopK]:
            again = depth != first.depth
            yield from map(read_part, spread(ask(rows, depth), shards) if again else tables)

        return search_certified(parts, len(queries), k)

    files = [Path(str(embeddings.shards.path(shard))) for shard in shards]
    gone = embeddings.tombstones()

    def write(found: Merged | Found) -> None:
        answers = {"id": found.ids.ravel(), "score": found.scores.ravel()}
        write_atomically(scratch / "results.parquet", parquet_bytes(pa.table(answers)))

    def alone() -> int:
        found = search_single_threaded(files, gone, queries, k)
        write(found)
        return found.images

    return Work(first, shards, take, alone, embeddings.manifest, write)


def shards_of(manifest: pa.Table) -> list[int]:
    """Return the shard numbers of a source manifest, in ascending order."""
    return sorted(set(manifest["shard"].to_pylist()))


def _take_all(tables: Iterable[pa.Table], spread: Spread) -> None:
    """Wait for all answers: the workers have written what they made, and nothing is merged."""
    for _ in tables:
        pass
