"""The source manifest: every file of a source, and the shard it falls into, fixed once.

A unit is what is read in one go: an image file, rows of a Parquet file, or a tar. A shard is one or
more units; it is what a worker takes, what a resumed run skips and what a merge merges. It is
planned from the list of files and from Parquet's footers: what is in the files, workers read.
"""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Ids, Mask
from pipeline.core.errors import InputError, StoreError
from pipeline.core.makers import made_by
from pipeline.core.side_by_side import in_order
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes, table_of
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.kinds import KINDS
from pipeline.images.kinds.kind import Span
from pipeline.images.kinds.patience import patiently
from pipeline.images.shard_rows import MOST, Evenly, ShardRows, rows_a_shard
from pipeline.images.source import Listed, Source, list_source

READERS = 16
SHARD_BYTES = 2**30  # of a shard's files, unless one alone has more
MANIFEST = "source.parquet"  # what the store keeps it as

UNITS = pa.schema(
    [
        ("shard", pa.int64()),
        ("path", pa.string()),  # below the source's root
        ("revision", pa.int64()),  # how often the file had changed when it was listed
        ("start", pa.int64()),  # first row of a Parquet unit, else 0
        ("stop", pa.int64()),  # one past the last, else 0
        ("rows", pa.int64()),  # null: known once it is read
        ("bytes", pa.int64()),  # of the unit; null: unknown
        ("file_bytes", pa.int64()),  # as listed, null: unknown
        ("version", pa.string()),
    ]
)


@dataclass(frozen=True)
class Planned:
    """A source manifest, and the files that could not be planned, by reason."""

    manifest: pa.Table  # UNITS
    unusable: Counter[str] = field(default_factory=Counter)


def plan_manifest(listed: Listed, shard_rows: ShardRows, known: pa.Table | None = None) -> Planned:
    """Cut the files that ``known`` does not hold as they are now into shards.

    A shard holds ``shard_rows`` rows, by the number of the images cut here where that is Evenly,
    and SHARD_BYTES at most; a tar is one shard. Returns the units
    of ``known`` unchanged, then new ones in shards numbered onwards, so that a grown source never
    moves an image to another shard. The units of files that are gone or have changed stay, for
    shard numbers hang on them; of a file's units those of its last revision count.
    """
    known = UNITS.empty_table() if known is None else known.replace_schema_metadata(None)
    new = _new_files(listed.files, known)
    kind = KINDS[listed.source.kind]
    unusable: Counter[str] = Counter()
    if kind.spans is None:
        units = _whole_files(new, kind.rows_a_file)
    else:
        most = MOST if isinstance(shard_rows, Evenly) else shard_rows
        units = _file_spans(listed.source, new, most, unusable)
    rows = rows_a_shard(shard_rows, pc.sum(units["rows"]).as_py() or 0)
    units = _cut(units, rows)
    first = pc.max(known["shard"]).as_py()
    limit = kind.files_a_shard
    shards = _shards(units, rows, limit, 0 if first is None else first + 1)
    units = units.append_column("shard", pa.array(shards, pa.int64()))
    return Planned(pa.concat_tables([known, units.select(UNITS.names).cast(UNITS)]), unusable)


def _new_files(files: pa.Table, known: pa.Table) -> pa.Table:
    """Return the files that ``known`` lacks, or holds as they were, each with its revision.

    An unknown size or version is no sign of a change.
    """
    last = known.take(pa.array(np.arange(known.num_rows)[::-1]))
    place = pc.index_in(files["path"], value_set=last["path"])
    before = last.take(place)
    changed = [
        pc.fill_null(pc.not_equal(files[now], before[then]), False)
        for now, then in (("bytes", "file_bytes"), ("version", "version"))
    ]
    new = pc.or_(pc.is_null(place), pc.or_(*changed))
    revision = pc.fill_null(pc.add(before["revision"], 1), 0)
    return files.append_column("revision", revision).filter(new)


def _whole_files(files: pa.Table, rows: int | None) -> pa.Table:
    count = files.num_rows
    nothing = pa.array(np.zeros(count, np.int64))
    columns = {name: files[name] for name in ("path", "revision", "bytes", "version")}
    columns |= {"start": nothing, "stop": nothing, "file_bytes": files["bytes"]}
    return pa.table(columns | {"rows": pa.array([rows] * count, pa.int64())})


def _file_spans(
    source: Source, files: pa.Table, shard_rows: int, unusable: Counter[str]
) -> pa.Table:
    """Return the units of Parquet files, by their footers; what cannot be used is counted."""
    opened, spans_of = source.opened(), KINDS[source.kind].spans
    assert spans_of is not None

    def spans(path: str) -> list[Span] | InputError:
        at = opened.at(path)
        try:
            return patiently(lambda: spans_of(opened, at, shard_rows, SHARD_BYTES), at)
        except (InputError, FileNotFoundError, PermissionError) as error:
            return error if isinstance(error, InputError) else InputError(f"{at}: {error.strerror}")

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(READERS) as pool:
        listed = files.to_pylist()
        for file, found in zip(listed, pool.map(spans, files["path"].to_pylist()), strict=True):
            if isinstance(found, InputError):
                unusable[str(found)] += 1
                continue
            facts = {"file_bytes": file["bytes"]}
            facts |= {name: file[name] for name in ("path", "revision", "version")}
            rows += [facts | span._asdict() | {"rows": span.stop - span.start} for span in found]
    return pa.Table.from_pylist(rows, pa.schema([UNITS.field(n) for n in UNITS.names[1:]]))


def _cut(units: pa.Table, most: int) -> pa.Table:
    """Return ``units``, those of more than ``most`` rows in parts."""
    rows = pc.fill_null(units["rows"], 0).to_numpy()
    parts = np.maximum(1, -(-rows // most))
    if (parts == 1).all():
        return units
    which = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts, parts)
    cut = units.take(pa.array(which))
    start = cut["start"].to_numpy() + part * most
    stop = np.minimum(start + most, cut["stop"].to_numpy())
    size = cut["bytes"].to_numpy() * (stop - start) // rows[which]
    columns = {"start": start, "stop": stop, "rows": stop - start, "bytes": size}
    for name, values in columns.items():
        cut = cut.set_column(cut.column_names.index(name), name, pa.array(values))
    return cut


def _shards(units: pa.Table, shard_rows: int, most: int | None, first: int) -> Ids:
    """Return each unit's shard: one is closed before it would hold more than it may."""
    count = units.num_rows
    rows, sizes = (
        np.concatenate([[0], np.cumsum(pc.fill_null(units[name], 0).to_numpy())])
        for name in ("rows", "bytes")
    )
    edges = [0]
    while edges[-1] < count:
        at = edges[-1]
        stops = [
            np.searchsorted(rows, rows[at] + shard_rows, side="right") - 1,
            np.searchsorted(sizes, sizes[at] + SHARD_BYTES, side="right") - 1,
            count if most is None else at + most,
        ]
        edges.append(max(at + 1, min(int(stop) for stop in stops)))
    return first + np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def is_live(manifest: pa.Table, files: pa.Table) -> Mask:
    """Return for each unit whether its file is there, and has not changed since."""
    paths = manifest["path"].dictionary_encode().combine_chunks()
    numbers = paths.indices.to_numpy(zero_copy_only=False)
    revisions = manifest["revision"].to_numpy()
    last = np.full(len(paths.dictionary), -1, np.int64)
    np.maximum.at(last, numbers, revisions)
    there = pc.is_in(manifest["path"], value_set=files["path"].combine_chunks())
    live: Mask = there.to_numpy() & (revisions == last[numbers])
    return live


def pending_units(manifest: pa.Table, files: pa.Table, done: Iterable[int]) -> pa.Table:
    """Return the live units of ``manifest`` whose shard is not among ``done``."""
    finished = pc.is_in(manifest["shard"], value_set=pa.array(sorted(done), pa.int64()))
    return manifest.filter(pa.array(is_live(manifest, files) & ~finished.to_numpy()))


def has_manifest(store: Store) -> bool:
    """Return whether ``store`` was made from a source: synthetic ones were not."""
    return MANIFEST in store.attached_names()


def lost_manifest(store: Store) -> bool:
    """Return whether a finished ``store`` was made from a source, and its manifest is not kept.

    Raises StoreError where its first shard is damaged.
    """
    return not has_manifest(store) and "file" in store.columns()


def kept_manifest(store: Store) -> pa.Table | None:
    """Return the source manifest kept in ``store``, None in a store that is being begun.

    Raises StoreError if damaged, or lost while shards hang on it.
    """
    delete = f"delete {store.root} and run {made_by(store.kind)} again"
    remedy = f"{delete}, for its shards hang on this file"
    mend = f"run sluice verify {store.root} --mend, or {remedy}"
    data = store.attached(MANIFEST, mend)
    if data is None and store.entries():
        raise StoreError(f"{store.root} lacks attached/{MANIFEST}; {mend}")
    if data is None:
        return None
    manifest = table_of(data)
    if not manifest.schema.equals(UNITS, check_metadata=False):
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


def refuse_ids(listed: Listed, manifest: pa.Table) -> None:
    """Raise InputError where the ids that the source brings are no such ids, or repeat."""
    source = listed.source
    read_ids, found = KINDS[source.kind].ids, [np.empty(0, np.int64)]
    if read_ids is None:
        return
    opened = source.opened()
    live = manifest.filter(pa.array(is_live(manifest, listed.files)))
    paths = map(opened.at, dict.fromkeys(live["path"].to_pylist()))
    with ThreadPoolExecutor(READERS) as pool:
        for ids in in_order(pool, partial(read_ids, opened), paths, READERS):
            if ids is None:
                return
            found.append(ids)
    _refuse_changed(source, live, len(found) > 1)
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{source.url} holds {int((counts > 1).sum())} ids more than once "
            f"(first: {values[counts > 1][0]}); give every image its own id"
        )


def _refuse_changed(source: Source, live: pa.Table, brings_ids: bool) -> None:
    """An id that stood for one image must not come to stand for another."""
    changed = live.filter(pc.greater(live["revision"], 0))["path"].to_pylist()
    if changed and brings_ids:
        raise InputError(
            f"{len(set(changed))} file(s) of {source.url} that bring their images' ids have "
            f"changed since this output was begun (first: {changed[0]}); put them back, or choose "
            "another output folder"
        )


def extend_manifest(store: Store, listed: Listed, shard_rows: ShardRows) -> Planned:
    """Return the store's source manifest, written once and extended when the source has grown.

    It is kept with its source's URL, and made anew where no shard is finished. Raises InputError
    where the store is of another source.
    """
    known = kept_manifest(store) if store.entries() else None  # else no shard hangs on it
    if known is not None:
        _refuse_another(store, known, listed)
    planned = plan_manifest(listed, shard_rows, known)
    if planned.unusable and not planned.manifest.num_rows:
        raise InputError(next(iter(planned.unusable)))
    refuse_ids(listed, planned.manifest)
    manifest = planned.manifest.replace_schema_metadata(told_source(listed.source))
    if known is None or not manifest.equals(known, check_metadata=True):
        store.attach(MANIFEST, parquet_bytes(manifest))
    return Planned(manifest, planned.unusable)


def told_source(source: Source) -> dict[str, str]:
    """Return how a manifest names its source, in the metadata of its schema."""
    return {"source": json.dumps(asdict(source))}


def stored_source(store: Store, urls: tuple[str, ...] | None = None) -> Source:
    """Return the source that ``store`` was made from, at ``urls`` where it lies there now.

    Raises as ``read_manifest`` does, and as ``list_source`` does of ``urls``.
    """
    source = remembered_source(read_manifest(store).schema)
    if urls is None or urls == source.urls:
        return source
    return list_source(urls, source.kind, (), source.column, source.max_pixels).source


def most_pixels(store: Store) -> int:
    """Return the most pixels of an image that were decoded for ``store``, so that queries may."""
    return stored_source(store).max_pixels if has_manifest(store) else MAX_PIXELS


def remembered_source(schema: pa.Schema) -> Source:
    """Return the source that a manifest of ``schema`` names."""
    told = json.loads(schema.metadata[b"source"])
    return Source(**told | {"urls": tuple(told["urls"])})


def _refuse_another(store: Store, known: pa.Table, listed: Listed) -> None:
    """A forgotten output must not declare all images of another source gone."""
    before, now = remembered_source(known.schema), listed.source
    if before.urls[0] == now.urls[0]:
        return
    if before.urls[0] in now.urls:
        raise InputError(
            f"{store.root} holds the images of {before.url}; name {before.urls[0]} first, for its "
            "images are called by their paths below it"
        )
    there = pc.is_in(listed.files["path"], value_set=known["path"])
    if not pc.any(there).as_py():
        raise InputError(
            f"{store.root} holds the images of {before.url}, and none of them is in {now.url}; "
            "name both, or another output folder"
        )
