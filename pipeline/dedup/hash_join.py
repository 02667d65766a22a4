"""Pairs of pictures whose perceptual hashes are near, in any of eight orientations."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import faiss
import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids
from pipeline.core.errors import InputError
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.images.evidence import evidence_columns, evident
from pipeline.images.perceptual_hash import as_bytes, oriented

FARTHEST = 10  # bits of 64 in which hashes of copies differ
NEAREST = 4  # hashes that one is paired with, in each orientation
WORDS = 4  # parts of a hash, of which one differs by a bit at most: exact up to 7 bits
FEW = 20_000  # hashes that are compared with all others


def require_hashes(embeddings: Store) -> None:
    """Raise InputError where a store's images have no perceptual hash."""
    names = embeddings.columns()
    if names and "hash" not in names:
        raise InputError(
            f"{embeddings.root} holds no perceptual hashes, which the second look needs: embed "
            "into another embed.output, or say --similarity X to go by vectors alone"
        )


@dataclass(frozen=True)
class HashPlan:
    """All a worker needs to find the pictures whose hashes are near those of any shard."""

    name: ClassVar[str] = "join by hash"
    embeddings: Place
    doubtful: bool

    def start(self) -> ShardFunction:
        """Read all hashes; return the function that finds (a, b) of one shard's images."""
        source = Store.open(self.embeddings, "embeddings")
        ids, hashes, shards = self._hashes(source)
        distinct, first = np.unique(hashes, return_index=True)
        index, is_first = _index(distinct), np.zeros(len(ids), np.bool_)
        is_first[first] = True

        def join_hashes(shard: int) -> pa.Table:
            started = time.time()
            mine = np.flatnonzero(shards == shard)
            rows = len(mine)
            same = _beside_the_first(ids, hashes, mine, distinct, first)
            mine = mine[is_first[mine]]
            one, other = _near(index, oriented(hashes[mine]))
            near = ids[mine[one]], ids[first[other]]
            a, b = (np.concatenate(ends) for ends in zip(same, near, strict=True))
            apart = a != b
            return shard_stats(shard, rows, started, a=a[apart], b=b[apart])

        return join_hashes

    def _hashes(self, source: Store) -> tuple[Ids, Ids, Ids]:
        columns = ["id", "hash", *evidence_columns(source)]
        found: list[tuple[Ids, Ids, Ids]] = []
        for entry in source.manifest():
            table = evident(source.read(entry.shard, columns), self.doubtful)
            ids = table["id"].to_numpy()
            found.append((ids, table["hash"].to_numpy(), np.full(len(ids), entry.shard)))
        ids, hashes, shards = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(ids, kind="stable")  # of one hash the lowest id comes first
        return ids[order], hashes[order], shards[order]


def _index(hashes: Ids) -> Any:
    if len(hashes) <= FEW:
        index: Any = faiss.IndexBinaryFlat(64)
    else:
        index = faiss.IndexBinaryMultiHash(64, WORDS, 64 // WORDS)
        index.nflip = 1
    index.add(as_bytes(hashes))
    return index


def _beside_the_first(
    ids: Ids, hashes: Ids, mine: Ids, distinct: Ids, first: Ids
) -> tuple[Ids, Ids]:
    """Return each image of ``mine`` beside the first one that has its hash."""
    stands = first[np.searchsorted(distinct, hashes[mine])]
    return ids[mine], ids[stands]


def _near(index: Any, turned: Ids) -> tuple[Ids, Ids]:
    """Return rows of ``turned`` int64 (8, n) and of the index: the NEAREST within FARTHEST."""
    one, other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for hashes in turned if turned.shape[1] else ():
        ends, far, near = index.range_search(as_bytes(hashes), FARTHEST + 1)
        row = np.repeat(
            np.arange(len(hashes)), np.asarray(np.diff(ends.astype(np.int64)), np.int64)
        )
        order = np.lexsort((near, far, row))
        row, near = row[order], near[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        one.append(row[rank <= NEAREST])  # itself among them
        other.append(near[rank <= NEAREST].astype(np.int64))
    return np.concatenate(one), np.concatenate(other)
