"""The source manifest: every file of a source, and the shard it falls into, fixed once.

A unit is what is read in one go: an image file, a run of Parquet row groups, or a tar. A shard is
one or more units; it is what a worker takes, what a resumed run skips and what a merge merges.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import checksum
from pipeline.core.makers import made_by
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.kinds import KINDS
from pipeline.images.kinds.kind import Unit
from pipeline.images.source import Source, list_files

READERS = 16
MANIFEST = "source.parquet"  # what the store keeps it as

UNITS = pa.schema(
    [
        ("shard", pa.int64()),
        ("path", pa.string()),  # below the source's root
        ("start", pa.int64()),  # first row group of a Parquet unit, else 0
        ("stop", pa.int64()),  # one past the last
        ("rows", pa.int64()),
        ("bytes", pa.int64()),  # of the whole file
        ("checksum", pa.string()),  # of the whole file
    ]
)


def plan_manifest(source: Source, shard_rows: int, known: pa.Table | None = None) -> pa.Table:
    """List the source and cut what ``known`` does not hold into shards of about ``shard_rows``.

    Returns the units in UNITS' schema: those of ``known`` unchanged, then new ones in shards
    numbered onwards, so that a grown source never moves an image to another shard. A tar is one
    shard; Parquet is cut between row groups. The units of files that are gone stay, for shard
    numbers hang on them. Raises InputError for a file that is damaged or has changed since
    ``known`` was written.
    """
    files = list_files(source)
    known = UNITS.empty_table() if known is None else known
    sizes = dict(zip(known["path"].to_pylist(), known["bytes"].to_pylist(), strict=True))
    _refuse_changes(sizes, dict(files), source.url)
    new = [path for path, _ in files if path not in sizes]
    with ThreadPoolExecutor(READERS) as pool:
        units = list(chain.from_iterable(pool.map(lambda path: _units(source, path), new)))
    first = max(known["shard"].to_pylist(), default=-1) + 1
    rows_a_shard = KINDS[source.kind].rows_a_shard or shard_rows
    for unit, shard in zip(units, _shards(units, rows_a_shard, first), strict=True):
        unit["shard"] = shard
    return pa.concat_tables([known, pa.Table.from_pylist(units, schema=UNITS)])


def _refuse_changes(known: dict[str, int], there: dict[str, int], url: str) -> None:
    changed = sorted(path for path in known.keys() & there.keys() if known[path] != there[path])
    if changed:
        raise InputError(
            f"{len(changed)} file(s) of {url} have changed since this output was begun "
            f"(first: {changed[0]}); put them back, rename them, or choose another output folder"
        )


def _units(source: Source, path: str) -> list[Unit]:
    data = source.filesystem().cat_file(source.path(path))
    file = {"shard": 0, "path": path, "bytes": len(data), "checksum": checksum(data)}
    return [file | span._asdict() for span in KINDS[source.kind].units(data, path)]


def _shards(units: list[Unit], shard_rows: int, first: int) -> Iterator[int]:
    """Yield each unit's shard: a shard is closed once it holds ``shard_rows`` rows."""
    shard, rows = first, 0
    for unit in units:
        if rows >= shard_rows or (rows and rows + unit["rows"] > shard_rows):
            shard, rows = shard + 1, 0
        yield shard
        rows += unit["rows"]


def pending_units(manifest: pa.Table, done: Iterable[int]) -> pa.Table:
    """Return the units of ``manifest`` whose shard is not among ``done``."""
    finished = pa.compute.is_in(manifest["shard"], value_set=pa.array(sorted(done), pa.int64()))
    return manifest.filter(pa.compute.invert(finished))


def has_manifest(store: Store) -> bool:
    """Return whether ``store`` was made from a source: synthetic ones were not."""
    return MANIFEST in store.attached_names()


def kept_manifest(store: Store) -> pa.Table | None:
    """Return the source manifest kept in ``store``, None in a store that is being begun.

    Raises StoreError if damaged, or lost while shards hang on it.
    """
    again = f"run {made_by(store.kind)} again"
    remedy = f"delete {store.root} and {again}, for its shards hang on this file"
    data = store.attached(MANIFEST, remedy)
    if data is None and store.entries():
        raise StoreError(f"{store.root} lacks attached/{MANIFEST}; {remedy}")
    if data is None:
        return None
    manifest = pq.read_table(pa.BufferReader(data))
    if not manifest.schema.equals(UNITS):
        raise StoreError(f"{MANIFEST} of {store.root} has columns of another kind; {remedy}")
    return manifest


def read_manifest(store: Store) -> pa.Table:
    """Return the source manifest of ``store``.

    Raises InputError where the store has none yet, StoreError where it is lost or damaged.
    """
    manifest = kept_manifest(store)
    if manifest is None:
        raise InputError(f"{store.root} is not begun; run {made_by(store.kind)} first")
    return manifest


def refuse_repeated_ids(source: Source, manifest: pa.Table) -> None:
    """Raise InputError where the ids that the source brings hold a number twice."""
    read_ids, found = KINDS[source.kind].ids, [np.empty(0, np.int64)]
    if read_ids is None:
        return
    fs, there = source.filesystem(), {path for path, _ in list_files(source)}
    for path in dict.fromkeys(manifest["path"].to_pylist()):
        if path not in there:
            continue
        ids = read_ids(fs, source.path(path))
        if ids is None:
            return
        found.append(ids)
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{source.url} holds {int((counts > 1).sum())} ids more than once "
            f"(first: {values[counts > 1][0]}); give every image its own id"
        )


def extend_manifest(store: Store, source: Source, shard_rows: int) -> pa.Table:
    """Return the store's source manifest, written once and extended when the source has grown."""
    known = kept_manifest(store)
    manifest = plan_manifest(source, shard_rows, known)
    refuse_repeated_ids(source, manifest)
    if known is None or manifest.num_rows > known.num_rows:
        store.attach(MANIFEST, parquet_bytes(manifest))
    return manifest
