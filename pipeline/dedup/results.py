"""What a deduplication found: gathered from all joins, kept beside them, and read again.

Of images with the same vector the lowest id stands for all: attached/pairs.parquet (PAIRS, and the
images' keys) holds the pairs of those that stand for their set, and each further image beside the
one that stands for it. Everything counted is counted over all pairs of images.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.folder import Place
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.dedup.groups import Rule, group_pairs, to_drop
from pipeline.dedup.identical_sets import (
    PAIRS,
    SetPairs,
    across,
    as_pairs,
    set_pairs,
    unite_sets,
)
from pipeline.dedup.keeping import TOLD, preferred
from pipeline.dedup.looked import Looked, looked_pairs, with_changes, with_looks
from pipeline.dedup.pair_recall import PairRecall
from pipeline.dedup.verdicts import read_verdicts, rejected, without_rejected
from pipeline.images.evidence import doubts, evidence_columns, evident
from pipeline.images.listing import of_first_folder
from pipeline.images.manifest import has_manifest, read_manifest, stored_source

FOLDERS = "folder"  # the kind of source whose images are files
RESULTS = ("pairs.parquet", "groups.parquet")
FILES = ("bytes", "modified")  # size, and when it was modified (ns since the epoch)


@dataclass(frozen=True)
class Deduplicated:
    """What the job found."""

    pairs: pa.Table  # PAIRS, a_key, b_key: of images that stand for their set, and who is in it
    sets: SetPairs  # the same pairs, to count and to group
    joined: SetPairs  # they with those that a user has rejected
    standing: SetPairs  # they with those on either side, where only pairs across count
    groups: pa.Table  # GROUPS, key and, of a folder, path, bytes, checksum, pages
    images: pa.Table  # id, key, pixels, width, height and, where known, scene, transform and FILES
    verdicts: pa.Table  # VERDICTS
    buckets: int
    left_out: Counter[str]  # images that are no evidence of identity, by reason
    looked: Looked | None = None  # none: pairs of vectors alone
    recall: PairRecall | None = None  # None where all pairs were compared

    @property
    def survivors(self) -> int:
        """How many groups there are: each keeps one image."""
        return int(np.count_nonzero(self.groups["survivor"].to_numpy()))


@dataclass(frozen=True)
class Joined:
    """What all joins found, before pairs are grouped."""

    images: pa.Table  # as ``read_images`` gives them
    left_out: Counter[str]
    pairs: pa.Table  # PAIRS
    buckets: int


def gather_results(
    embeddings: Store,
    store: Store,
    rule: Rule,
    found: Joined,
    against: bool = False,
    looked: Looked | None = None,
) -> Deduplicated:
    """Group what was ``found``, or ``looked`` at again, by ``rule``; keep all in ``store``.

    against: the images of the source's first folder are the reference: only pairs of one of them
    with one of the others are kept, and none of them is dropped.
    """
    images, pairs, verdicts = found.images, found.pairs, read_verdicts(store)
    if looked:
        images, pairs = with_changes(images, looked.looks), looked_pairs(pairs, looked.looks)
    standing = joined = set_pairs(pairs)
    if against:
        joined = across(joined, images.filter(images["preferred"])["id"].to_numpy())
    sets = without_rejected(joined, verdicts) if verdicts.num_rows else joined
    if sets is not joined or against:
        pairs = as_pairs(sets)
    groups = group_pairs(sets, images, rule, rejected(verdicts))
    groups = with_keys(groups, images, {"id": "key"})
    groups = with_files(groups, embeddings)
    pairs = with_keys(pairs, images, {"a": "a_key", "b": "b_key"})
    pairs = with_looks(pairs, looked.looks, standing) if looked else pairs
    for name, table in zip(RESULTS, (pairs, groups), strict=True):
        store.attach(name, parquet_bytes(table))
    facts = (verdicts, found.buckets, found.left_out, looked)
    return Deduplicated(pairs, sets, joined, standing, groups, images, *facts)


def with_keys(table: pa.Table, images: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Return ``table`` with the keys of its columns of ids, under ``names`` by column."""
    for ids, name in names.items():
        place = pc.index_in(table[ids], value_set=images["id"])
        table = table.append_column(name, images["key"].take(place))
    return table


def with_files(groups: pa.Table, embeddings: Store) -> pa.Table:
    """Return ``groups`` with path, where the file of each image lies, its bytes, checksum, pages.

    A path is a URL where an image is an object. As they are where they are no files of their own.
    """
    source = stored_source(embeddings) if has_manifest(embeddings) else None
    if source is None or source.kind != FOLDERS:
        return groups
    manifest = read_manifest(embeddings)
    wanted, tables = groups["id"].combine_chunks(), []
    for entry in embeddings.manifest():
        table = embeddings.read(entry.shard, ["id", "file", "checksum", "pages"])
        table = table.filter(pc.is_in(table["id"], value_set=wanted))
        tables.append(_with_facts(table, manifest, entry.shard))
    known = pa.concat_tables(tables)
    known = known.take(pc.index_in(wanted, value_set=known["id"].combine_chunks()))
    opened = source.opened()
    paths = [opened.url(file) for file in known["file"].to_pylist()]
    groups = groups.append_column("path", pa.array(paths, pa.string()))
    for name in ("bytes", "checksum", "pages"):
        groups = groups.append_column(name, known[name])
    return groups.replace_schema_metadata({"folders": json.dumps(source.urls)})


def read_images(
    embeddings: Store, doubtful: bool = False, prefer: Sequence[str] = (), against: bool = False
) -> tuple[pa.Table, Counter[str]]:
    """Return the images still there: id, key, width, height, scene and transform where known, and
    what ``keeping_order`` takes: preferred (of the patterns ``prefer``; ``against``: of the
    source's first folder), whole, pixels, bytes, modified.

    Those that are no evidence of identity are counted by reason, unless ``doubtful`` asks for them.
    """
    names = embeddings.columns()
    extra = [name for name in ("scene", "transform") if name in names]
    facts = [name for name in ("file", "decoded") if name in names]
    columns = ["id", "key", "width", "height", *extra, *facts, *evidence_columns(embeddings)]
    columns = list(dict.fromkeys(columns))
    manifest = read_manifest(embeddings) if has_manifest(embeddings) else None
    shards = [entry.shard for entry in embeddings.manifest()]
    table = pa.concat_tables(
        [_with_facts(embeddings.read(shard, columns), manifest, shard) for shard in shards]
    )
    reasons = doubts(table)
    left_out = Counter() if doubtful else Counter(pc.drop_null(reasons).to_pylist())
    table = evident(table, doubtful)
    pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    kept = {"id": table["id"], "key": table["key"], "pixels": pixels}
    first = of_first_folder(table["file"]) if against else None
    kept["preferred"] = preferred(table["key"], prefer) if first is None else first
    if "decoded" in facts:
        kept["whole"] = pc.greater_equal(table["decoded"], 1.0)
    known = [n for n in ("width", "height", *extra, *FILES) if n in table.column_names]
    return pa.table(kept | {name: table[name] for name in known}), left_out


def _with_facts(table: pa.Table, manifest: pa.Table | None, shard: int) -> pa.Table:
    """Return ``table`` with FILES of the files that hold its images, where a source names them."""
    if manifest is None:
        return table
    mine = manifest.filter(pc.equal(manifest["shard"], shard))
    units = mine.take(pc.index_in(table["file"], value_set=mine["path"].combine_chunks()))
    # A local file's version is when it was modified, in ns; an object's is a tag without an order.
    numbers = pc.match_substring_regex(units["version"], "^[0-9]{1,19}$")
    version = pc.if_else(numbers, units["version"], None)
    table = table.append_column("bytes", units["file_bytes"])
    return table.append_column("modified", version.cast(pa.int64()))


def gather_pairs(store: Store, images: pa.Table) -> pa.Table:
    """Return PAIRS of the ``images`` (id) still there, by a, then b."""
    tables = [store.read(entry.shard) for entry in store.manifest()]
    joined = pa.concat_tables([PAIRS.empty_table(), *tables])
    return unite_sets(joined, images["id"].to_numpy())


def read_results(root: Place) -> tuple[pa.Table, pa.Table]:
    """Return the pairs and groups, with their keys, of a finished job at ``root``.

    Raises InputError where they are missing, StoreError where they are damaged.
    """
    store = Store.open(root, "pairs")
    found = [store.attached(name) for name in RESULTS]
    if not all(found):
        raise InputError(f"{store.root} is not finished; run sluice dedup again: it resumes")
    pairs, groups = (pq.read_table(pa.BufferReader(data)) for data in found)
    return pairs, groups


def facts(found: Deduplicated, similarity: float, rule: Rule) -> list[tuple[str, Any]]:
    """Return what is to be told of ``found`` in figures, in the order of telling."""
    images, drop = found.images.num_rows, to_drop(found.groups).num_rows
    left = found.groups.num_rows - found.survivors - drop
    return [
        ("images to drop", f"{drop:,} of {images:,} ({drop / max(1, images):.1%})"),
        ("images", images),
        *((f"images left out, {reason}", n) for reason, n in sorted(found.left_out.items())),
        ("images identical to another", found.sets.identical_images),
        *_looked_facts(found),
        (_pairs_named(found, similarity), int(found.sets.counts.sum())),
        ("of them between identical images", found.sets.within),
        ("rows of pairs.parquet, which stand for them", found.pairs.num_rows),
        ("groups", found.survivors),
        *([("images left of several pages, of which the first is alike", left)] if left else []),
        ("rule", rule),
        ("kept of a group", TOLD),
        ("buckets", found.buckets),
    ]


def _pairs_named(found: Deduplicated, similarity: float) -> str:
    if found.looked:
        return f"pairs, sure to {found.looked.kept.least:.6f} and above"
    return f"pairs, similarity >= {similarity}"


def _looked_facts(found: Deduplicated) -> list[tuple[str, Any]]:
    looked = found.looked
    if not looked:
        return []
    unread = [("of them no longer to be read", looked.unread)] if looked.unread else []
    beyond = [("similar pairs not looked at, of images with nearer ones", looked.beyond)]
    looks = ("candidate pairs looked at again", looked.candidates)
    passed = [("nearest pairs not looked at, for others are as near", looked.passed)]
    told = (*(beyond if looked.beyond else []), *(passed if looked.passed else []))
    return [looks, *unread, *told]


def missed_text(found: Deduplicated) -> list[str]:
    """Return what is known of the pairs that were not found, and of those that were, in lines."""
    recall = recall_text(found.recall)
    if not found.looked:
        return [recall]
    named = f"candidates with a cosine of {found.looked.cosine:g} and above: {recall}"
    return [_precision_text(found.looked), named]


def _precision_text(looked: Looked) -> str:
    kept = looked.kept
    return (
        f"expected: {kept.precision:.4f} of the pairs kept are copies, and they are "
        f"{kept.recall:.4f} of the copies among the candidates, of which "
        f"{kept.shares.copies:.2%} are some and {kept.shares.look_alikes:.2%} look-alikes"
    )


def recall_text(recall: PairRecall | None) -> str:
    """Return what is known of the pairs that were not found."""
    if recall is None:
        return "all pairs were compared: none is missing"
    if not recall.drawn:
        return f"recall is unknown: none of {recall.images} sampled images has a partner"
    return (
        f"pair recall {recall.recall:.4f} ({recall.found} of {recall.true} pairs of "
        f"{recall.images} sampled images, each compared with all images), at least "
        f"{recall.low:.4f} with {recall.confidence:.0%} confidence"
    )
