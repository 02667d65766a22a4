"""A source: what kind of images a URL holds, and where."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.makers import made_by
from pipeline.images.formats import MAX_PIXELS, lacking, remedy
from pipeline.images.kinds import KINDS
from pipeline.images.kinds.kind import Opened, joined
from pipeline.images.kinds.paths import DELIMITERS
from pipeline.images.kinds.patience import patiently
from pipeline.images.kinds.urls import open_url, told_by_url
from pipeline.images.listing import Listing, list_folders


@dataclass(frozen=True)
class Source:
    """Images below ``root`` and other folders of one filesystem, all of one kind."""

    urls: tuple[str, ...]  # of the folders; ``root`` is the first one's
    root: str
    kind: str  # one of KINDS
    made_here: bool = False  # the shards of a store: their columns are ours
    column: str | None = None  # the column that is read; none: the kind finds it
    max_pixels: int = MAX_PIXELS  # of an image whose format cannot be decoded smaller

    @property
    def url(self) -> str:
        """Return where it is, in words."""
        return ", ".join(self.urls)

    def opened(self) -> Opened:
        """Return it as its kind reads it."""
        return Opened(open_url(self.urls[0])[0], self.root, self.column)


@dataclass(frozen=True)
class Listed:
    """A source with the list of its files, which stays on the driver."""

    source: Source
    files: pa.Table  # listing.FILES, of the source's kind
    left_out: Counter[str]  # other files, by reason


class _Folder(NamedTuple):
    """A folder of a source, or the one file in it that is meant."""

    fs: Any
    root: str
    only: str | None = None
    made_here: bool = False


def list_source(
    urls: str | Sequence[str],
    kind: str = "auto",
    exclude: Sequence[str] = (),
    column: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Listed:
    """Find what the folders at ``urls`` hold, of ``kind`` where one of KINDS is named.

    No file is read. A finished store counts as the Parquet of its shards, a single file as a folder
    of one. Paths are below the first folder; those in others are whole, from the filesystem's root,
    so that the first one's stay what they are when others come. ``column`` is the one of a table
    that holds the images, or names them. Raises InputError where nothing is there, where it holds
    no images, or several kinds.
    """
    urls = (urls,) if isinstance(urls, str) else tuple(urls)
    folders = [_folder(url) for url in urls]
    first, *others = folders
    for url, other in zip(urls[1:], others, strict=True):
        if other.fs != first.fs or other.made_here or first.made_here:
            why = "is a store" if other.made_here or first.made_here else "on another filesystem"
            raise InputError(
                f"{url} and {urls[0]} cannot be one source: one {why}; give each an output folder "
                "of its own"
            )
    listing = _listing(urls[0], folders, exclude)
    kind = "parquet" if first.made_here else kind
    source = Source(urls, first.root, kind, first.made_here, column, max_pixels)
    return _of_one_kind(source, listing)


@told_by_url
def _listing(url: str, folders: Sequence[_Folder], exclude: Sequence[str]) -> Listing:
    fs, places = folders[0].fs, [(folder.root, folder.only) for folder in folders]
    return patiently(lambda: list_folders(fs, places, exclude), url)


@told_by_url
def _folder(url: str) -> _Folder:
    fs, root = open_url(url)
    root = root.rstrip("/")
    if fs.exists(joined(root, "store.json")):
        _refuse_unfinished(fs, root, url)
        return _Folder(fs, joined(root, "shards"), made_here=True)
    if fs.isdir(root):
        return _Folder(fs, root)
    if not root or not fs.exists(root):
        raise InputError(f"source {url} is not there; mend source.url")
    folder, _, only = root.rpartition("/")
    return _Folder(fs, folder, only)


def _of_one_kind(source: Source, listing: Listing) -> Listed:
    """Return the files of the source's kind, which is the only one there where it is "auto"."""
    counts = Counter(listing.files["suffix"].to_pylist())
    kinds = ((name, kind) for name, kind in KINDS.items() if not kind.by_column)
    there = [name for name, kind in kinds if counts.keys() & kind.suffixes]
    found = there if source.kind == "auto" else [source.kind]
    if len(found) > 1:
        raise InputError(f"{source.url} holds {' and '.join(found)}; say which with source.kind")
    suffixes = KINDS[found[0]].suffixes if found else frozenset()
    waiting = {suffix: extra for suffix in suffixes if (extra := lacking(suffix))}
    suffixes -= waiting.keys()
    mine = pc.is_in(listing.files["suffix"], value_set=pa.array(sorted(suffixes), pa.string()))
    files = listing.files.filter(mine)
    if not files.num_rows:
        extras = sorted({waiting[suffix] for suffix in counts.keys() & waiting.keys()})
        if extras:
            needs = " and ".join(map(remedy, extras))
            raise InputError(f"{source.url} holds only images that take {needs}")
        lists = any(counts[suffix] for suffix in DELIMITERS) and source.kind == "auto"
        mend = "name the column of paths with source.path_column" if lists else "mend source.url"
        raise InputError(f"{source.url} holds no images, Parquet or tar files; {mend}")
    if source.column and KINDS[found[0]].spans is None:
        raise InputError(
            f"{source.url} holds {found[0]}, which has no column {source.column}; mend "
            "source.kind, or leave source.image_column out"
        )
    others = {suffix: count for suffix, count in counts.items() if suffix not in suffixes}
    reasons = {_suffix_reason(suffix, waiting): count for suffix, count in others.items()}
    return Listed(replace(source, kind=found[0]), files, listing.left_out + Counter(reasons))


def _suffix_reason(suffix: str, waiting: Mapping[str, str]) -> str:
    if suffix in waiting:
        return f"{suffix} suffix, which takes {remedy(waiting[suffix])}"
    return f"{suffix or 'without a'} suffix"


def _refuse_unfinished(fs: Any, root: str, url: str) -> None:
    if fs.exists(joined(root, "manifest.json")):
        return
    kind = None
    with suppress(ValueError, AttributeError):  # a damaged header tells no kind
        kind = json.loads(fs.cat_file(joined(root, "store.json"))).get("kind")
    reason = f"{url} is not finished (it has no manifest.json)"
    raise InputError(f"{reason}; run {made_by(kind)} again: it resumes")
