"""Reading a shard of a source: the bytes of its images with their ids, keys and other columns."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.files import checksum
from pipeline.core.tables import unified
from pipeline.images.kinds import KINDS
from pipeline.images.kinds.kind import BATCH_BYTES
from pipeline.images.source import Source

ROWS_AT_ONCE = 64
# What Sluice makes of an image: a source's column of such a name is kept as "source_" and its name.
OURS = (
    *("checksum", "contrast", "decoded", "embedding", "hash", "height", "pages", "rough"),
    *("signature", "size", "width"),
)
CORPUS = ("scene", "transform")  # known copies, of which only our own corpus may tell


def read_batches(
    source: Source, manifest: pa.Table, shard: int, rows: int = ROWS_AT_ONCE
) -> Iterator[pa.Table]:
    """Yield the images of one shard, in the manifest's order, up to ``rows`` at once.

    Each table has id int64, key string (what the source calls the image, else where it is), bytes
    binary (null where it could not be read), refused string (the reason then, else null), checksum
    string (of the bytes), file string (its path below the root), then the source's own columns.
    Files that have left the source are left out.
    Raises InputError where a file cannot be read, now or at all.
    """
    units = manifest.filter(pc.equal(manifest["shard"], shard)).to_pylist()
    for batch in _filled(KINDS[source.kind].batches(source.opened(), units, rows), rows):
        yield _with_checksums(_renamed(batch, source.made_here))


def begun(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Return ``batches`` of which the first one is read here and now."""
    coming = iter(batches)
    return chain(list(islice(coming, 1)), coming)


def _filled(batches: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` where BATCH_BYTES allow it; one at least."""
    kept: pa.Table | None = None
    for batch in batches:
        if kept is None:
            kept = batch
            continue
        if kept.num_rows and (kept.num_rows >= rows or kept.nbytes + batch.nbytes > BATCH_BYTES):
            yield kept
            kept = batch
            continue
        kept = unified([kept, batch])
        while kept.num_rows > rows:
            yield kept.slice(0, rows)
            kept = kept.slice(rows)
    if kept is not None:
        yield kept


def read_shard(source: Source, manifest: pa.Table, shard: int) -> pa.Table:
    """Return the images of one shard, as ``read_batches`` gives them, in one table."""
    return unified(list(read_batches(source, manifest, shard)))


def read_images(source: Source, manifest: pa.Table, shard: int, known: pa.Table) -> pa.Table:
    """Return those images of a shard that ``known`` (id, checksum) holds, as they are there.

    Of one that has changed or left since, bytes are null and refused says so. In ``known``'s order.
    """
    parts = []
    for batch in read_batches(source, manifest, shard):
        parts.append(batch.filter(pc.is_in(batch["id"], value_set=known["id"])))
    found = unified(parts)
    place = pc.index_in(known["id"], value_set=found["id"])
    images = found.take(place)
    same = pc.fill_null(pc.equal(images["checksum"], known["checksum"]), False)
    told = pc.if_else(same, None, "changed: gone or changed since this output was made")
    nothing = pa.nulls(known.num_rows, pa.binary())
    changed = {"id": known["id"], "bytes": pc.if_else(same, images["bytes"], nothing)}
    changed |= {"refused": pc.coalesce(told, images["refused"])}
    changed |= {"key": known["key"]} if "key" in known.column_names else {}
    for name, column in changed.items():
        images = images.set_column(images.column_names.index(name), name, column)
    return images


def _renamed(batch: pa.Table, made_here: bool) -> pa.Table:
    names = {*OURS, *(() if made_here else CORPUS)}
    return batch.rename_columns(
        [f"source_{name}" if name in names else name for name in batch.column_names]
    )


def _with_checksums(batch: pa.Table) -> pa.Table:
    sums = [None if data is None else checksum(data) for data in batch["bytes"].to_pylist()]
    if "refused" not in batch.column_names:
        refused = pc.if_else(pc.is_null(batch["bytes"]), "empty: it has no bytes", None)
        batch = batch.add_column(3, "refused", refused.cast(pa.string()))
    return batch.add_column(4, "checksum", pa.array(sums, pa.string()))
