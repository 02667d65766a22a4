"""What a store says of itself: store.json from its beginning on, manifest.json once it is whole."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from pipeline.core.entries import ShardEntry, forget_other_entries, read_entries, write_entries
from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import FORMAT_VERSION, opened, sealed, write_atomically
from pipeline.core.folder import Place, remove_folder, version_of
from pipeline.core.lock import locked
from pipeline.core.makers import made_by


@dataclass(frozen=True)
class Header:
    """The kind of a store and the settings it was made with, as JSON holds them."""

    kind: str
    identity: dict[str, Any]


def begin(root: Place, kind: str, identity: Mapping[str, Any]) -> Header:
    """Return the header of the store at ``root``, written where there is none.

    What a run left that finished no shard decides nothing: a store of another kind or identity is
    begun in its place. Raises StoreError where the store holds something, or a running job has it.
    """
    wanted = Header(kind, json.loads(json.dumps(dict(identity))))
    try:
        there = read_header(root)
    except InputError:
        _write_header(root, wanted)
    else:
        if there == wanted:
            return there
        if not _holds_something(root):
            _begin_anew(root, wanted)
    found = read_header(root, kind)
    if found != wanted:
        told = _differences(found.identity, wanted.identity)
        raise StoreError(
            f"{root} was made with other settings ({told}); use the same settings, or another "
            "output folder"
        )
    return found


def _begin_anew(root: Place, wanted: Header) -> None:
    with locked(root):
        parts = [path.parent for path in root.glob("*/store.json")]
        for inner in (root / "attached", root / "attempts", *parts):
            remove_folder(inner)
        _write_header(root, wanted)


def _write_header(root: Place, header: Header) -> None:
    write_atomically(root / "store.json", sealed({"format": FORMAT_VERSION} | asdict(header)))


def _holds_something(root: Place) -> bool:
    return (root / "manifest.json").exists() or any((root / "entries").glob("*.json"))


def read_header(root: Place, kind: str | None = None) -> Header:
    """Return the header of the store at ``root``, of any kind where none is named.

    Raises InputError where there is none, StoreError where it is damaged, newer or of another kind.
    """
    path = root / "store.json"
    try:
        header = opened(path)
        _, found, identity = header["format"], header["kind"], dict(header["identity"])
    except FileNotFoundError as error:
        raise _missing(root, kind) from error
    except (ValueError, KeyError, TypeError) as error:
        again = f"delete {root} and run {made_by(kind)} again"
        raise StoreError(f"{path} is damaged ({error}); {again}") from error
    if kind not in (None, found):
        raise StoreError(f"{root} holds {found}, not {kind}; mend the path")
    return Header(found, identity)


def _missing(root: Place, kind: str | None) -> InputError:
    if kind is None:
        return InputError(f"{root} is no store (it has no store.json); mend the path")
    return InputError(
        f"{root} holds no {kind} (it has no store.json): run {made_by(kind)} first, "
        "or mend the path"
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    return "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} asked for" for key in keys)


def write_manifest(root: Place, header: Header, entries: list[ShardEntry]) -> None:
    """Write manifest.json over ``entries``, which makes the store a finished one."""
    name = write_entries(root, entries)
    manifest = {
        "format": FORMAT_VERSION,
        "kind": header.kind,
        "identity": header.identity,
        "rows": sum(entry.rows for entry in entries),
        "quarantined": sum(entry.quarantined for entry in entries),
        "shards": len(entries),
        "entries": name,
    }
    write_atomically(root / "manifest.json", sealed(manifest))
    forget_other_entries(root, [name])


def compact_entries(root: Place, entries: list[ShardEntry]) -> None:
    """Keep ``entries`` of an unfinished store in one file, beside that of its manifest."""
    names = [write_entries(root, entries)]
    with suppress(OSError, ValueError, KeyError):
        names.append(opened(root / "manifest.json")["entries"])
    forget_other_entries(root, names)


def read_manifest(root: Place, kind: str) -> list[ShardEntry]:
    """Return the entries of a finished store.

    Raises InputError where it is not finished, StoreError where manifest.json is damaged or newer.
    """
    path, again = root / "manifest.json", f"run {made_by(kind)} again"
    try:
        try:
            return list(_entries(root, version_of(path)))
        except FileNotFoundError as error:  # perhaps a job has written another meanwhile
            if str(error.filename) == str(path):
                raise
            return list(_entries(root, version_of(path)))
    except FileNotFoundError as error:
        if str(error.filename) != str(path):
            raise StoreError(f"{error.filename} is missing; delete {path} and {again}") from error
        reason = f"{root} is not finished (it has no manifest.json)"
        raise InputError(f"{reason}; {again}: it resumes") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and {again}") from error


@lru_cache(maxsize=8)  # a job asks for it a dozen times
def _entries(root: Place, version: tuple[Any, ...]) -> tuple[ShardEntry, ...]:
    manifest = opened(root / "manifest.json")
    _, name = manifest["format"], manifest["entries"]
    return tuple(read_entries(root, name))
