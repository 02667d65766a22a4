"""A source: what kind of images a URL holds, and the list of its files."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec

from pipeline.core.errors import InputError
from pipeline.core.makers import made_by
from pipeline.images.kinds import KINDS


@dataclass(frozen=True)
class Source:
    """Images below ``root`` on the filesystem of ``url``, all of one kind."""

    url: str
    root: str
    kind: str  # one of KINDS

    def filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.url)[0]

    def path(self, relative: str) -> str:
        return f"{self.root}/{relative}"


def open_source(url: str, kind: str = "auto") -> Source:
    """Find what ``url`` holds, of ``kind`` where one of KINDS is named.

    A finished store counts as the Parquet of its shards.

    Raises InputError where nothing is there, where it holds no images, or several kinds.
    """
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(f"source.url {url} cannot be opened: {error}") from error
    root = root.rstrip("/")
    if fs.exists(f"{root}/store.json"):
        _refuse_unfinished(fs, root, url)
        root, kind = f"{root}/shards", "parquet"
    if not fs.isdir(root):
        raise InputError(f"source {url} is not a folder; mend source.url")
    found = _kinds(fs, root) if kind == "auto" else [kind]
    if len(found) > 1:
        raise InputError(f"{url} holds {' and '.join(found)}; say which with source.kind")
    if not found or not any(_list(fs, root, found[0])):
        raise InputError(f"{url} holds no images, Parquet or tar files; mend source.url")
    return Source(url, root, found[0])


def _refuse_unfinished(fs: Any, root: str, url: str) -> None:
    if fs.exists(f"{root}/manifest.json"):
        return
    kind = None
    with suppress(ValueError, AttributeError):  # a damaged header tells no kind
        kind = json.loads(fs.cat_file(f"{root}/store.json")).get("kind")
    reason = f"{url} is not finished (it has no manifest.json)"
    raise InputError(f"{reason}; run {made_by(kind)} again: it resumes")


def _kinds(fs: Any, root: str) -> list[str]:
    suffixes = {PurePosixPath(path).suffix.lower() for path in fs.find(root)}
    return [name for name, kind in KINDS.items() if suffixes & kind.suffixes]


def list_files(source: Source) -> list[tuple[str, int]]:
    """Return (path below root, bytes) of the source's files in the order of their paths."""
    return _list(source.filesystem(), source.root, source.kind)


def _list(fs: Any, root: str, kind: str) -> list[tuple[str, int]]:
    found = fs.find(root, detail=True)
    return sorted(
        (path[len(root) + 1 :], info["size"])
        for path, info in found.items()
        if PurePosixPath(path).suffix.lower() in KINDS[kind].suffixes
        and not PurePosixPath(path).name.startswith(".")
    )
