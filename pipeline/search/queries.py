"""The queries of a search: images the store holds already, or image files embedded here."""

import os
import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Mask, Pixels, Vectors
from pipeline.core.errors import InputError
from pipeline.core.row_map import RowMap, rows_with
from pipeline.core.spread import NearGpu
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix


@dataclass(frozen=True)
class Queries:
    """One row a query: where it came from, its id where it is in the store, its vector."""

    keys: list[str]
    ids: Ids  # (q,)
    stored: Mask  # (q,): whether it is in the store; of others the id says nothing
    vectors: Vectors  # (q, d)
    refused: tuple[str, ...] = ()  # files that are no usable images, each with the reason
    cut: tuple[str, ...] = ()  # texts of which the end was not asked, each with how much


def split_queries(store: Store, texts: tuple[str, ...]) -> tuple[list[int], list[Path]]:
    """Return the images of ``store`` and the image files that ``texts`` name.

    A text is "id:7", a file, a folder, or the key of an image of ``store``. Raises InputError
    naming every text that is none of these, all at once.
    """
    ids: list[int] = []
    paths: list[Path] = []
    keys = []
    for text in texts:
        number = int(text[3:]) if re.fullmatch(r"id:-?\d{1,19}", text) else 2**63
        if -(2**63) <= number < 2**63:
            ids.append(number)
        elif os.path.isdir(text):
            from pipeline.search.query_files import folder_images  # as in gather_queries

            paths += folder_images(text)
        elif os.path.isfile(text):
            paths.append(Path(text))
        else:
            keys.append(text)
    return list(dict.fromkeys(ids + ids_of_keys(store, keys))), list(dict.fromkeys(paths))


def ids_of_keys(store: Store, keys: list[str]) -> list[int]:
    """Return the ids of the images of ``store`` with these keys, in their order.

    Raises InputError naming every key that no image has, or several.
    """
    if not keys:
        return []
    found = rows_with(store, "key", pa.array(keys, pa.string()), ["id", "key"])
    by_key = found.group_by("key").aggregate([("id", "list")])
    ids = dict(zip(by_key["key"].to_pylist(), by_key["id_list"].to_pylist(), strict=True))
    missing = [key for key in keys if key not in ids]
    if missing:
        raise InputError(
            f"no such query: {', '.join(missing)}; give image files, folders, id:NUMBER, or an "
            f"image's key in {store.root}"
        )
    several = [key for key in keys if len(ids[key]) > 1]
    if several:
        told = [f"{key} is the key of id:{', id:'.join(map(str, ids[key]))}" for key in several]
        raise InputError(f"{'; '.join(told)}; name the images by these")
    return [ids[key][0] for key in keys]


def sample_ids(store: Store, count: int, shards: Sequence[int] | None = None) -> list[int]:
    """Return ``count`` ids spread evenly over the store's images in the order of their ids.

    shards: those whose images are meant, all where none are named.
    """
    if not count:
        return []
    known = RowMap.kept(store, "id") if shards is None else None
    if known is not None:
        return _sampled_by(known, store, count)
    shards = [entry.shard for entry in store.manifest()] if shards is None else shards
    if not shards:
        return []
    parts = [store.read(shard, ["id"])["id"].to_numpy() for shard in shards]
    ids = np.sort(np.concatenate(parts))
    return [int(i) for i in ids[_spread_evenly(len(ids), count)]]


def _sampled_by(known: RowMap, store: Store, count: int) -> list[int]:
    buried = np.sort(known.find(pa.array(store.tombstones()))["place"].to_numpy())
    ranks = _spread_evenly(store.rows() - len(buried), count)
    # Of a rank among the images that are there, the place among all.
    before = np.searchsorted(buried - np.arange(len(buried)), ranks, side="right")
    ids: list[int] = known.at(ranks + before).to_pylist()
    return ids


def _spread_evenly(rows: int, count: int) -> Ids:
    return np.unique(np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64))


def stored_queries(store: Store, ids: list[int]) -> Queries:
    """Return the vectors the store holds for ``ids``, in their order.

    Raises InputError where the store lacks one of them.
    """
    found = find_images(store, ids, ["id", "key", "embedding"])
    place = {number: row for row, number in enumerate(found["id"].to_pylist())}
    missing = [number for number in ids if number not in place]
    if missing:
        raise InputError(f"{store.root} holds no image with id {missing[0]}; see its id column")
    found = found.take(pa.array([place[number] for number in ids], pa.int64()))
    return Queries(
        _told_apart(found["key"].to_pylist(), ids),
        np.array(ids, np.int64),
        np.ones(len(ids), np.bool_),
        embedding_matrix(found["embedding"]),
    )


def _told_apart(keys: list[str], ids: list[int]) -> list[str]:
    """Return ``keys``, with its id beside one that several have."""
    counts = Counter(keys)
    pairs = zip(keys, ids, strict=True)
    return [f"{key} (id:{number})" if counts[key] > 1 else key for key, number in pairs]


def find_images(
    store: Store, ids: list[int], columns: list[str], shards: Container[int] | None = None
) -> pa.Table:
    """Return the store's rows of ``ids`` in the store's order, found as by ``rows_with``."""
    return rows_with(store, "id", pa.array(sorted(set(ids)), pa.int64()), columns, shards)


def refuse_nothing_to_ask(count: int, refused: tuple[str, ...]) -> None:
    """Raise InputError where ``count``, of the queries, is 0."""
    if count:
        return
    if refused:
        raise InputError(f"no query is a usable image: {'; '.join(refused)}; name others")
    raise InputError("the query folders hold no images; name others")


def gather_queries(
    store: Store,
    texts: tuple[str, ...],
    sampled: int,
    weights: Path | None,
    near_gpu: NearGpu,
) -> Queries:
    """Return the queries ``texts`` name, files before ids, then ``sampled`` of the store's own.

    ``weights``: those of the store's network where no installed package has them. Files that are no
    usable images are told in ``refused``. Raises InputError where no query is left, or one is not
    there.
    """
    ids, paths = split_queries(store, texts)
    ids = list(dict.fromkeys(ids + sample_ids(store, sampled)))
    parts = [stored_queries(store, ids)] if ids else []
    if paths:
        # Here, for images that the store holds need no decoder, no network and no file system.
        from pipeline.embedding.stored import query_encoder
        from pipeline.images.manifest import most_pixels
        from pipeline.search.query_files import embed_files

        encoder = query_encoder(store, weights)
        settings = encoder.settings

        def encode(squares: Pixels) -> Vectors:
            return near_gpu(settings.backend, lambda: encoder.start()(squares))

        fit = settings.transform.fit
        asked = embed_files(paths, encode, settings.input_size, most_pixels(store), fit)
        parts.insert(0, asked)
    return joined_queries(parts)


def joined_queries(parts: Sequence[Queries]) -> Queries:
    """Return the queries of ``parts`` in one. Raises InputError where there are none."""
    refused = tuple(line for part in parts for line in part.refused)
    parts = [part for part in parts if part.keys]
    refuse_nothing_to_ask(len(parts), refused)
    return Queries(
        [key for part in parts for key in part.keys],
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.stored for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        refused,
        tuple(line for part in parts for line in part.cut),
    )
