"""The queries of a search: image files embedded here, or images the store holds already."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Pixels, Vectors
from pipeline.core.errors import InputError
from pipeline.core.ids import NO_ID
from pipeline.core.spread import NearGpu
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.embedding.settings import Encode
from pipeline.embedding.stored import query_encoder
from pipeline.images.kinds.folder import IMAGE_SUFFIXES
from pipeline.images.squares import decode_squares


@dataclass(frozen=True)
class Queries:
    """One row a query: where it came from, its id in the store (-1: not in it), its vector."""

    keys: list[str]
    ids: Ids  # (q,)
    vectors: Vectors  # (q, d)


def split_queries(texts: tuple[str, ...]) -> tuple[list[int], list[Path]]:
    """Return the ids and the image files that ``texts`` name: "id:7", a file, or a folder.

    Raises InputError naming every text that is neither, all at once.
    """
    ids: list[int] = []
    paths: list[Path] = []
    wrong = []
    for text in texts:
        path = Path(text)
        if text.startswith("id:") and text[3:].isdecimal():
            ids.append(int(text[3:]))
        elif path.is_dir():
            paths += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        elif path.is_file():
            paths.append(path)
        else:
            wrong.append(text)
    if wrong:
        raise InputError(
            f"no such query: {', '.join(wrong)}; give image files, folders, or id:NUMBER"
        )
    return ids, paths


def sample_ids(store: Store, count: int) -> list[int]:
    """Return ``count`` ids spread evenly over the store's images in the order of their ids."""
    if not count:
        return []
    parts = [store.read(entry.shard, ["id"])["id"].to_numpy() for entry in store.manifest()]
    ids = np.sort(np.concatenate(parts))
    places = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(np.int64)
    return [int(i) for i in ids[np.unique(places)]]


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
        found["key"].to_pylist(), np.array(ids, np.int64), embedding_matrix(found["embedding"])
    )


def find_images(store: Store, ids: list[int], columns: list[str]) -> pa.Table:
    """Return the store's rows of ``ids`` in the store's order, reading shard by shard."""
    wanted = pa.array(sorted(set(ids)), pa.int64())
    parts: list[pa.Table] = []
    for entry in store.manifest():
        table = store.read(entry.shard, ["id"])
        mask = pa.compute.is_in(table["id"], value_set=wanted)
        if pa.compute.any(mask).as_py() or not parts:
            parts.append(store.read(entry.shard, columns).filter(mask))
    return pa.concat_tables(parts)


def embed_files(paths: list[Path], encode: Encode, size: int) -> Queries:
    """Embed image files. Raises InputError naming every file that is not a usable image."""
    ids, keys = [NO_ID] * len(paths), [str(path) for path in paths]
    images = pa.table({"id": ids, "key": keys, "bytes": [path.read_bytes() for path in paths]})
    squares = decode_squares(images, size)
    if squares.quarantine.num_rows:
        lines = [
            f"{r['key']} ({r['reason']}: {r['detail']})" for r in squares.quarantine.to_pylist()
        ]
        raise InputError(f"unusable query image: {'; '.join(lines)}")
    return Queries(keys, np.array(ids, np.int64), encode(squares.pixels))


def gather_queries(
    store: Store,
    texts: tuple[str, ...],
    sampled: int,
    weights: Path | None,
    near_gpu: NearGpu,
) -> Queries:
    """Return the queries ``texts`` name, files before ids, then ``sampled`` of the store's own.

    ``weights``: those of the store's network where no installed package has them. Raises InputError
    where there are none, or one is unusable.
    """
    ids, paths = split_queries(texts)
    ids = list(dict.fromkeys(ids + sample_ids(store, sampled)))
    parts = [stored_queries(store, ids)] if ids else []
    if paths:
        encoder = query_encoder(store, weights)
        settings = encoder.settings

        def encode(squares: Pixels) -> Vectors:
            return near_gpu(settings.backend, lambda: encoder.start()(squares))

        parts.insert(0, embed_files(paths, encode, settings.input_size))
    if not parts:
        raise InputError("the query folders hold no images; name others")
    return Queries(
        [key for part in parts for key in part.keys],
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.vectors for part in parts]),
    )
