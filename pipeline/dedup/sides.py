"""The images of train and of test: which is which, where they are, and what they are called."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.dedup.leaks import CARRIED
from pipeline.dedup.results import FOLDERS
from pipeline.images.kinds.urls import open_url
from pipeline.images.listing import ANOTHER_NAME, of_first_folder
from pipeline.images.source import Listed, Source, list_source


def sided_images(embeddings: Store, source: Source) -> pa.Table:
    """Return (id, key, path, label, test) of all images of a store of train and test.

    path: where the file is, null where an image is none of its own; label: null where nothing
    tells one, as of a file that lies in no folder of train's or test's own.
    """
    has = "label" in embeddings.columns()
    columns = ["id", "key", "file", *(["label"] if has else [])]
    shards = [embeddings.read(entry.shard, columns) for entry in embeddings.manifest()]
    images = pa.concat_tables(shards)
    train = of_first_folder(images["file"])
    files = images["file"]
    nothing = pa.nulls(images.num_rows, pa.string())
    path, label = nothing, images["label"].cast(pa.string()) if has else nothing
    if source.kind == FOLDERS:
        path = pc.if_else(train, pc.binary_join_element_wise(f"{source.root}/", files, ""), files)
        roots = pa.array([source.root, *(_root(url) for url in source.urls[1:])])
        folder = pc.replace_substring_regex(path, "/[^/]*$", "")
        label = pc.if_else(pc.is_in(folder, value_set=roots), None, label)
    names = ("id", "key", "path", "label", "test")
    values = (images["id"], images["key"], path, label, pc.invert(train))
    return pa.table(dict(zip(names, values, strict=True)))


def same_files(listed: Listed, test: str, **asked: Any) -> pa.Table:
    """Return the files of ``test`` (path) that are files of train under another name, too.

    listed: of train and test; asked: what ``list_source`` takes beside the URL. Raises InputError
    where these are not images of their own.
    """
    if not listed.left_out[ANOTHER_NAME]:
        return pa.table({"path": pa.array([], pa.string())})
    alone = list_source(test, **asked)
    root = pa.scalar(f"/{alone.source.root}/".replace("//", "/"))
    paths = pc.binary_join_element_wise(root, alone.files["path"], "")
    shared = paths.filter(pc.invert(pc.is_in(paths, value_set=listed.files["path"])))
    if len(shared) and alone.source.kind != FOLDERS:
        raise InputError(f"{shared[0]} is a file of train and of test; take it out of one of them")
    return pa.table({"path": shared})


def with_names(leaked: pa.Table, images: pa.Table, shared: pa.Table) -> pa.Table:
    """Return ``leaked`` with keys and paths for ids, and ``shared`` (path), without a train image.

    images: as of ``sided_images``.
    """
    told: dict[str, pa.ChunkedArray] = {}
    for side, ids in (("test", "id"), ("train", "train")):
        place = pc.index_in(leaked[ids], value_set=images["id"])
        told |= {f"{side}_{name}": images[name].take(place) for name in ("key", "path")}
    known = {name: leaked[name] for name in ("score", *CARRIED) if name in leaked.column_names}
    named = pa.table(told | known)
    both = {"test_key": shared["path"], "test_path": shared["path"]}
    ones = pa.array(np.ones(shared.num_rows))
    return pa.concat_tables([pa.table(both | {"score": ones}), named], promote_options="default")


def _root(url: str) -> str:
    return str(open_url(url)[1].rstrip("/"))
