"""The one closest point among all, asked of workers that already hold their share in memory."""

import time
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import ray

from pipeline.core.arrays import Ids, Vectors
from pipeline.lab.timing import middle_with_interval
from pipeline.search.exact_topk import ShardTopK, shard_topk
from pipeline.search.merge import SPARE, CertifiedMerge, Merged

PARTS = ("latency", "scheduling", "slowest_shard", "merge")


@dataclass(frozen=True)
class NearestAnswer:
    """The answer, and the seconds of its latency: scheduling is all that is not the other two."""

    merged: Merged
    latency: float
    slowest_shard: float
    merge: float

    @property
    def scheduling(self) -> float:
        return self.latency - self.slowest_shard - self.merge


class NearestPool:
    """One actor a share of ``vectors`` f32 (n, d), unit rows; their ids are their rows."""

    def __init__(self, vectors: Vectors, workers: int) -> None:
        shares = np.array_split(np.arange(len(vectors)), workers)
        actor = ray.remote(_Share)
        self.actors: list[Any] = [
            actor.remote(share, vectors[share], number) for number, share in enumerate(shares)
        ]
        ray.get([actor.ready.remote() for actor in self.actors])

    def ask(self, query: Vectors, most: int | None = None) -> NearestAnswer:
        """Return the vector closest to ``query`` f32 (1, d), with what the waiting was for.

        most: of each share, that are looked at; none: all.
        """
        began = time.perf_counter()
        answers = ray.get([actor.search.remote(query, most) for actor in self.actors])
        answered = time.perf_counter()
        merge = CertifiedMerge(1, 1)
        for part, _ in answers:
            merge.add(part)
        merged, ended = merge.result(), time.perf_counter()
        slowest = max(seconds for _, seconds in answers)
        return NearestAnswer(merged, ended - began, slowest, ended - answered)

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            ray.kill(actor)


class _Share:
    def __init__(self, ids: Ids, vectors: Vectors, number: int):
        faiss.omp_set_num_threads(1)
        self.ids, self.vectors, self.number = ids, vectors, number

    def ready(self) -> bool:
        return True

    def search(self, query: Vectors, most: int | None) -> tuple[ShardTopK, float]:
        began = time.perf_counter()
        part = shard_topk(query, self.ids[:most], self.vectors[:most], 1 + SPARE, self.number)
        return part, time.perf_counter() - began


def random_points(queries: int, points: int, dimensions: int) -> tuple[Vectors, Vectors]:
    """Return unit vectors f32 (queries, 1, d) and (points, d), always the same ones."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(queries + points, dimensions)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn[:queries, None], drawn[queries:]


def nearest_alone(points: Vectors, queries: Vectors) -> dict[str, Any]:
    """Return the row of nearest_by_pool of no workers: one thread without Ray, nothing to wait for.

    queries: (q, 1, d), each timed.
    """
    scans = _scans(points, queries)
    facts: dict[str, Any] = {"workers": 0, "points": len(points)}
    for part in ("scheduling", "merge", "floor"):
        facts |= dict.fromkeys((part, f"{part}_low", f"{part}_high"), 0.0)
    for part in ("latency", "slowest_shard", "share"):
        facts |= _with_interval(part, scans)
    return facts


def nearest_by_pool(points: Vectors, queries: Vectors, workers: int) -> dict[str, Any]:
    """Return what ``queries`` (q, 1, d) took, asked of ``workers`` actors one after the other.

    In ms: PARTS; ``share``, a scan of one actor's share while nothing else runs, as
    on a machine of its own; ``floor``, the latency over shares of one vector, where there is
    nothing to scan. Geometric means, with the 95 % interval ``_low`` and ``_high`` of each.
    """
    pool = NearestPool(points, workers)
    pool.ask(queries[0])
    answers = [pool.ask(query) for query in queries]
    floors = [1000 * pool.ask(query, most=1).latency for query in queries]
    pool.close()
    facts: dict[str, Any] = {"workers": workers, "points": len(points)}
    for part in PARTS:
        facts |= _with_interval(part, [1000 * getattr(answer, part) for answer in answers])
    shares = _scans(points[: -(-len(points) // workers)], queries)
    return facts | _with_interval("floor", floors) | _with_interval("share", shares)


def _scans(points: Vectors, queries: Vectors) -> list[float]:
    """Return the ms of scanning ``points`` for each of the queries, one thread, here."""
    faiss.omp_set_num_threads(1)
    ids, taken = np.arange(len(points)), []
    for query in queries:
        began = time.perf_counter()
        shard_topk(query, ids, points, 1 + SPARE, 0)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def _with_interval(name: str, values: list[float]) -> dict[str, float | None]:
    return dict(
        zip((name, f"{name}_low", f"{name}_high"), middle_with_interval(values), strict=True)
    )
