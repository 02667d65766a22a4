"""Files with another date and perhaps the same bytes: those that are the same stay what they were.

A copied or restored collection has new dates throughout, and is not embedded again for that.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Mask
from pipeline.core.errors import InputError
from pipeline.core.folder import Place
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spread
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes, unified
from pipeline.images.kinds import KINDS
from pipeline.images.manifest import MANIFEST, is_live, kept_manifest
from pipeline.images.reader import read_batches
from pipeline.images.source import Listed, Source
from pipeline.images.squares import QUARANTINE

MADE_OF_BYTES = ("bytes", "refused")
WHOLE = 2**62


def keep_untouched(store: Store, listed: Listed, spread: Spread) -> None:
    """Give the files of ``store`` that have another date but the same rows their new date.

    Compared are those of a known and the same size, by the checksums and columns in the store's
    finished shards; workers read them. Raises as ``read_batches`` does.
    """
    known = kept_manifest(store)
    if known is None:
        return
    done = pa.array([entry.shard for entry in store.entries()], pa.int64())
    touched = _touched(known, listed.files)
    units = known.filter(pa.array(touched))
    finished = units.filter(pc.is_in(units["shard"], value_set=done))
    if not finished.num_rows:
        return
    plan = ComparePlan(listed.source, finished, store.root)
    answers = list(spread(plan, pc.unique(finished["shard"]).to_pylist()))
    changed = {path for answer in answers for path in answer["changed"][0].as_py()}
    same = set(finished["path"].to_pylist()) - changed
    mine = pc.is_in(known["path"], value_set=pa.array(sorted(same), pa.string()))
    place = pc.index_in(known["path"], value_set=listed.files["path"])
    now = pc.if_else(
        pc.and_(mine, pa.array(touched)), listed.files["version"].take(place), known["version"]
    )
    renewed = known.set_column(known.column_names.index("version"), "version", now)
    store.attach(MANIFEST, parquet_bytes(renewed))


def _touched(known: pa.Table, files: pa.Table) -> Mask:
    """Return for each unit whether its file has the size it had and another version."""
    listed = files.take(pc.index_in(known["path"], value_set=files["path"]))
    size = pc.fill_null(pc.equal(listed["bytes"], known["file_bytes"]), False)
    version = pc.fill_null(pc.not_equal(listed["version"], known["version"]), False)
    found: Mask = pc.and_(size, version).to_numpy() & is_live(known, files)
    return found


@dataclass(frozen=True)
class ComparePlan:
    """All a worker needs to compare the files of a shard with what the store holds of them."""

    name: ClassVar[str] = "compare"
    source: Source
    units: pa.Table  # UNITS
    output: Place

    def start(self) -> ShardFunction:
        """Return the function that compares one shard; its answer names the ``changed`` files."""
        store = Store.open(self.output)

        def compare_shard(shard: int) -> pa.Table:
            started = time.time()
            units = self.units.filter(pc.equal(self.units["shard"], shard))
            changed = set(units["path"].to_pylist())
            with suppress(InputError):  # a file that is none of its kind any more has changed
                changed -= self._same(store, shard, units["path"].unique())
            stats = shard_stats(shard, units.num_rows, started)
            told = pa.array([sorted(changed)], pa.list_(pa.string()))
            return stats.append_column("changed", told)

        return compare_shard

    def _same(self, store: Store, shard: int, paths: pa.Array) -> set[str]:
        batches = read_batches(self.source, self.units, shard)
        found = unified([_without_bytes(batch) for batch in batches])
        same = _same_files(found, *_stored(store, shard, paths))
        return set(same) & set(self._whole(paths.to_pylist()))

    def _whole(self, paths: list[str]) -> Iterator[str]:
        """Yield those of ``paths`` that have as many rows as their units."""
        source, spans_of = self.source.opened(), KINDS[self.source.kind].spans
        for path in paths:
            mine = self.units.filter(pc.equal(self.units["path"], path))
            if spans_of is None:
                yield path
                continue
            spans = spans_of(source, source.at(path), WHOLE, WHOLE)
            if sum(s.stop - s.start for s in spans) == pc.sum(mine["rows"]).as_py():
                yield path


def _without_bytes(batch: pa.Table) -> pa.Table:
    return batch.select([name for name in batch.column_names if name not in MADE_OF_BYTES])


def _stored(store: Store, shard: int, paths: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Return the rows of ``paths`` in a shard, and those that are quarantined."""
    kept = store.read_whole(shard)
    entry, refused = store.shards.entry(shard), QUARANTINE.empty_table()
    if entry.quarantined:
        refused = store.shards.read_quarantine(entry)
    return (
        kept.filter(pc.is_in(kept["file"], value_set=paths)),
        refused.filter(pc.is_in(refused["file"], value_set=paths)),
    )


def _same_files(found: pa.Table, kept: pa.Table, refused: pa.Table) -> Iterable[str]:
    """Yield the files of which ``found`` has the images and columns of ``kept``, and ``refused``.

    What could not be read has no checksum, and is the same while it cannot.
    """
    bad = pc.is_in(found["id"], value_set=refused["id"])
    names = [name for name in found.column_names if name in kept.column_names]
    pairs = (
        (found.filter(pc.invert(bad)).select(names), kept.select(names)),
        (found.filter(bad).select(["id", "file", "checksum"]), refused),
    )
    for path in pc.unique(found["file"]).to_pylist():
        if all(_same_rows(*pair, path) for pair in pairs):
            yield path


def _same_rows(found: pa.Table, kept: pa.Table, path: str) -> bool:
    one, other = (
        table.select(found.column_names).filter(pc.equal(table["file"], path)).sort_by("id")
        for table in (found, kept)
    )
    return bool(one.to_pydict() == other.to_pydict())
