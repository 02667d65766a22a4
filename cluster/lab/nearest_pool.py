"""The one closest point among all, asked of workers that already hold their share in memory."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from pipeline.search.exact_topk import ShardTopK, shard_topk
from pipeline.search.merge import SPARE, CertifiedMerge, Merged


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

    def __init__(self, vectors: np.ndarray[Any, Any], workers: int) -> None:
        shares = np.array_split(np.arange(len(vectors)), workers)
        actor = ray.remote(_Share)
        self.actors: list[Any] = [
            actor.remote(share, vectors[share], number) for number, share in enumerate(shares)
        ]
        ray.get([actor.ready.remote() for actor in self.actors])

    def ask(self, query: np.ndarray[Any, Any]) -> NearestAnswer:
        """Return the vector closest to ``query`` f32 (1, d), with what the waiting was for."""
        began = time.perf_counter()
        answers = ray.get([actor.search.remote(query) for actor in self.actors])
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
    def __init__(self, ids: np.ndarray[Any, Any], vectors: np.ndarray[Any, Any], number: int):
        import faiss

        faiss.omp_set_num_threads(1)
        self.ids, self.vectors, self.number = ids, vectors, number

    def ready(self) -> bool:
        return True

    def search(self, query: np.ndarray[Any, Any]) -> tuple[ShardTopK, float]:
        began = time.perf_counter()
        part = shard_topk(query, self.ids, self.vectors, 1 + SPARE, self.number)
        return part, time.perf_counter() - began
