"""Which images of a store a condition lets pass, found shard by shard before any vector is read."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.arrays import Ids, Mask, Numbers
from pipeline.core.errors import ConfigError
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.search.condition import Condition, condition_over

SHARDS_AT_ONCE = 16


def condition_of(text: str, store: Store) -> Condition:
    """Return the condition that ``text`` states on the columns of ``store``'s shards.

    A source's files need not have the same: where the first shard lacks what is asked about, the
    others' footers are read. Raises as ``condition_over`` does.
    """
    try:
        return condition_over(text, store.schema())
    except ConfigError:
        fields: dict[str, pa.Field] = {}
        for entry in store.manifest():
            for field in store.shards.schema(entry.shard):
                fields.setdefault(field.name, field)
        return condition_over(text, pa.schema(fields.values()))


@dataclass(frozen=True)
class Passing:
    """A bit for each row of a store's shards, the tombstoned ones too, of which none pass."""

    bits: NDArray[np.uint8]  # lowest first; each shard's begin with a byte
    starts: Ids  # (shards + 1,) the byte at which each shard begins
    counts: Ids  # (shards,) of the images that pass

    @property
    def images(self) -> int:
        return int(self.counts.sum())

    @property
    def shards(self) -> list[int]:
        """Return the shards in which any image passes."""
        return [int(shard) for shard in np.flatnonzero(self.counts)]

    def among(self, shards: Ids | Numbers, rows: Ids | Numbers) -> Mask:
        """Return bool (n,): whether the images at ``rows`` (n,) of ``shards`` (n,) pass."""
        bytes_there = self.bits[self.starts[shards] + (rows >> 3)]
        found: Mask = (bytes_there >> (rows & 7).astype(np.uint8) & 1).astype(np.bool_)
        return found

    def rows(self, shard: int, count: int) -> Mask:
        """Return bool (count,): which rows of ``shard``, which has so many, pass."""
        return self.among(np.full(count, shard), np.arange(count))


def read_passing(store: Store, shard: int, columns: list[str], passing: Passing | None) -> pa.Table:
    """Read the rows of one shard that pass, or without ``passing`` those that readers see."""
    if passing is None:
        return store.read(shard, columns)
    table = store.read_whole(shard, columns)
    return table.filter(pa.array(passing.rows(shard, table.num_rows)))


@dataclass(frozen=True)
class PassingPlan:
    """All a worker needs to tell which images of any group of shards fulfil a condition."""

    name: ClassVar[str] = "where"
    embeddings: Place
    condition: Condition
    groups: Sequence[Sequence[int]]  # of shards

    def start(self) -> ShardFunction:
        """Return the function that tells it of one group."""
        store = Store.open(self.embeddings, "embeddings")
        buried = store.tombstones()

        def passing(group: int) -> pa.Table:
            started = time.time()
            tables = [self._read(store, shard) for shard in self.groups[group]]
            held = np.concatenate(list(self._held(tables)))
            seen = [~np.isin(table["id"].to_numpy(), buried) for table in tables]
            ends = np.cumsum([table.num_rows for table in tables])
            mine = [one & held[end - len(one) : end] for one, end in zip(seen, ends, strict=True)]
            bits = [np.packbits(one, bitorder="little") for one in mine]
            told = {
                "bits": np.concatenate(bits),
                "sizes": np.array([len(one) for one in bits]),
                "passed": np.array([one.sum() for one in mine]),
            }
            return shard_stats(group, int(sum(one.sum() for one in seen)), started, **told)

        return passing

    def _read(self, store: Store, shard: int) -> pa.Table:
        there = store.shards.schema(shard).names
        asked = {"id", *self.condition.columns}.intersection(there)
        return store.read_whole(shard, sorted(asked))

    def _held(self, tables: list[pa.Table]) -> Iterator[Mask]:
        """Yield the rows for which the condition is true; tables of one schema are asked at once.

        To ask costs more than to evaluate a shard's rows.
        """
        for _, alike in groupby(tables, key=lambda table: table.schema):
            yield self.condition.holds(pa.concat_tables(alike))


def passing_images(spread: Spread, store: Store, condition: Condition) -> Passing:
    """Return which images of ``store`` fulfil ``condition``."""
    shards = [entry.shard for entry in store.manifest()]
    groups = [shards[at : at + SHARDS_AT_ONCE] for at in range(0, len(shards), SHARDS_AT_ONCE)]
    plan = PassingPlan(store.root, condition, groups)
    answers = spread(plan, range(len(groups)))
    told = sorted(((answer["shard"][0].as_py(), answer) for answer in answers), key=itemgetter(0))
    bits, sizes, counts = (
        np.concatenate([np.empty(0, kind), *(flat_column(answer, name) for _, answer in told)])
        for name, kind in (("bits", np.uint8), ("sizes", np.int64), ("passed", np.int64))
    )
    return Passing(bits, np.concatenate([[0], np.cumsum(sizes)]), counts)
