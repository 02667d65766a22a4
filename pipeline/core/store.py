"""A store: a folder of Parquet shards, a completion entry for each, and one manifest.

A shard counts once its entry exists: the shard file is written under a temporary name and renamed,
and only then the entry is. What a crash leaves behind has no entry, so the next run writes it anew.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from pipeline.core.errors import StoreError
from pipeline.core.files import (
    FORMAT_VERSION,
    checksum,
    opened,
    read_recorded,
    sealed,
    write_atomically,
)
from pipeline.core.tables import parquet_bytes, parquet_footer, read_parquet

TOMBSTONES = "tombstones.parquet"
PENDING = ".pending"
_REMAKE_ATTACHED = "delete it and its .json, then run the command that makes the store again"


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest records of one finished shard. Sizes are bytes, checksums blake2b-128."""

    shard: int
    rows: int
    bytes: int
    checksum: str
    quarantined: int = 0
    quarantine_checksum: str = ""
    footer_checksum: str = ""  # of the shard file's end, which no page's CRC covers


def _record(attached: Path) -> Path:
    return attached.with_name(f"{attached.name}.json")


def _pending(attached: Path) -> Path:
    return attached.with_name(f".{attached.name}{PENDING}")


def _recorded_checksum(record: Path, remedy: str = _REMAKE_ATTACHED) -> str:
    try:
        return str(opened(record)["checksum"])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{record} cannot be read ({error}); {remedy}") from error


class Store:
    """The shards of one kind ("corpus", "embeddings", ...) made with one identity (settings)."""

    def __init__(self, root: Path, kind: str, identity: Mapping[str, Any]) -> None:
        self.root = root
        self.kind = kind
        self.identity = dict(identity)
        self._tombstones: np.ndarray[Any, Any] | None = None

    @classmethod
    def create(cls, root: Path, kind: str, identity: Mapping[str, Any]) -> "Store":
        """Open the store at ``root``, making it where there is none.

        Raises StoreError where the folder holds a store of another kind or identity.
        """
        header = {"format": FORMAT_VERSION, "kind": kind, "identity": dict(identity)}
        header = json.loads(json.dumps(header))
        if not (root / "store.json").exists():
            write_atomically(root / "store.json", sealed(header))
        store = cls.open(root, kind)
        if store.identity != header["identity"]:
            changed = _differences(store.identity, header["identity"])
            raise StoreError(
                f"{root} was made with other settings ({changed}); "
                "use the same settings, or another output folder"
            )
        return store

    @classmethod
    def open(cls, root: Path, kind: str | None = None) -> "Store":
        """Open an existing store, of any kind where none is named.

        Raises StoreError where it is missing, damaged, newer or of another kind.
        """
        path = root / "store.json"
        try:
            header = opened(path)
            _, found, identity = header["format"], header["kind"], header["identity"]
        except FileNotFoundError as error:
            raise StoreError(
                f"{root} is not a store (it has no store.json); make it first, or mend the path"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is damaged ({error}); delete {root} and make it again"
            ) from error
        if kind not in (None, found):
            raise StoreError(f"{root} holds {found}, not {kind}; mend the path")
        return cls(root, found, identity)

    def shard_path(self, shard: int) -> Path:
        return self.root / "shards" / f"{shard:06d}.parquet"

    def quarantine_path(self, shard: int) -> Path:
        return self.root / "quarantine" / f"{shard:06d}.parquet"

    def entry_path(self, shard: int) -> Path:
        return self.root / "entries" / f"{shard:06d}.json"

    def write_shard(
        self,
        shard: int,
        table: pa.Table,
        quarantine: pa.Table | None = None,
        row_group: int | None = None,
    ) -> ShardEntry:
        """Write one shard and its quarantined rows, then the entry that makes them count."""
        data = parquet_bytes(table, row_group)
        quarantined, quarantine_checksum = 0, ""
        if quarantine is not None and quarantine.num_rows:
            refused = parquet_bytes(quarantine)
            quarantined, quarantine_checksum = quarantine.num_rows, checksum(refused)
            write_atomically(self.quarantine_path(shard), refused)
        write_atomically(self.shard_path(shard), data)
        entry = ShardEntry(
            shard,
            table.num_rows,
            len(data),
            checksum(data),
            quarantined,
            quarantine_checksum,
            checksum(parquet_footer(io.BytesIO(data))),
        )
        write_atomically(self.entry_path(shard), sealed(asdict(entry)))
        return entry

    def attach(self, name: str, data: bytes) -> None:
        """Keep ``data`` beside the shards under ``name``, with its checksum; replaces what is.

        A name may hold folders ("a/b"). The record is what makes ``data`` count: a crash before it
        is written leaves what was there, one after it leaves the new under its pending name.
        """
        path = self.root / "attached" / name
        write_atomically(_pending(path), data)
        record = {"bytes": len(data), "checksum": checksum(data)}
        write_atomically(_record(path), sealed(record))
        os.replace(_pending(path), path)

    def attached_names(self, pattern: str = "**/*") -> list[str]:
        """Return the names of what is kept, in order; ``pattern`` is a glob over them."""
        folder = self.root / "attached"
        records = sorted(folder.glob(f"{pattern}.json"))
        return [record.relative_to(folder).as_posix().removesuffix(".json") for record in records]

    def attached(self, name: str, remedy: str = _REMAKE_ATTACHED) -> bytes | None:
        """Return what is kept under ``name``, None where nothing is.

        A file without its record is what a crash left behind, and counts as nothing. Raises
        StoreError, ending with ``remedy``, where it is damaged.
        """
        path = self.root / "attached" / name
        if not _record(path).exists():
            return None
        recorded = _recorded_checksum(_record(path), remedy)
        with suppress(OSError):
            data = _pending(path).read_bytes()
            if checksum(data) == recorded:
                return data
        return read_recorded(path, recorded, remedy)

    def tombstones(self) -> np.ndarray[Any, Any]:
        """Return the ids int64 (n,) whose images have left the source, in ascending order."""
        if self._tombstones is None:
            data = self.attached(TOMBSTONES)
            table = pq.read_table(pa.BufferReader(data)) if data else None
            self._tombstones = (
                np.empty(0, np.int64) if table is None else np.sort(table["id"].to_numpy())
            )
        return self._tombstones

    def bury(self, ids: list[int]) -> None:
        """Make ``ids`` the tombstones: readers of the store no longer see their rows."""
        if ids != self.tombstones().tolist():
            table = pa.table({"id": pa.array(sorted(ids), pa.int64())})
            self.attach(TOMBSTONES, parquet_bytes(table))
            self._tombstones = None

    def images(self) -> int:
        """Return the number of rows that readers see. Raises StoreError where it is unfinished."""
        return sum(entry.rows for entry in self.manifest()) - len(self.tombstones())

    def entries(self) -> list[ShardEntry]:
        """Return the entries of the finished shards whose files have their size, by number."""
        found = []
        for path in sorted((self.root / "entries").glob("[0-9]*.json")):
            entry = _read_entry(path)
            shard = self.shard_path(entry.shard)
            if shard.exists() and shard.stat().st_size == entry.bytes:
                found.append(entry)
        return found

    def finish(self, shards: int) -> list[ShardEntry]:
        """Write manifest.json over all ``shards`` entries; raises StoreError if one is missing."""
        entries = self.entries()
        missing = set(range(shards)) - {entry.shard for entry in entries}
        if missing:
            raise StoreError(
                f"{self.root} lacks {len(missing)} of {shards} shards (first: {min(missing)}); "
                "run the same command again to make them"
            )
        manifest = {
            "format": FORMAT_VERSION,
            "kind": self.kind,
            "identity": self.identity,
            "rows": sum(entry.rows for entry in entries),
            "quarantined": sum(entry.quarantined for entry in entries),
            "shards": [asdict(entry) for entry in entries],
        }
        write_atomically(self.root / "manifest.json", sealed(manifest))
        return entries

    def manifest(self) -> list[ShardEntry]:
        """Return the entries of a finished store. Raises StoreError where it is not finished."""
        path = self.root / "manifest.json"
        try:
            manifest = opened(path)
            _, shards = manifest["format"], manifest["shards"]
            return [ShardEntry(**entry) for entry in shards]
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.root} is not finished (it has no manifest.json); "
                "run the command that makes it again: it resumes"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is damaged ({error}); delete it and run the command again"
            ) from error

    def read(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """Read one shard without its tombstoned rows.

        Raises StoreError where the file is missing or damaged.
        """
        buried = self.tombstones()
        if not len(buried):
            return self.read_whole(shard, columns)
        wanted = columns if columns is None or "id" in columns else [*columns, "id"]
        table = self.read_whole(shard, wanted)
        there = pa.array(~np.isin(table["id"].to_numpy(), buried))
        return table.filter(there).select(columns or table.column_names)

    def read_whole(
        self,
        shard: int,
        columns: list[str] | None = None,
        filters: list[tuple[str, str, Any]] | None = None,
    ) -> pa.Table:
        """Read one shard, or its rows that pass ``filters``, with the tombstoned ones.

        Raises StoreError as ``read`` does.
        """
        path, entry = self.shard_path(shard), _read_entry(self.entry_path(shard))
        remedy = f"delete {self.entry_path(shard)} and run the command that makes the store again"
        try:
            with open(path, "rb") as file:
                footer = parquet_footer(file)
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        if entry.footer_checksum not in ("", checksum(footer)):  # a store of format 1 has none
            raise StoreError(f"{path} cannot be read (its footer has changed); {remedy}")
        return read_parquet(path, remedy, columns, filters)

    def read_quarantine(self) -> pa.Table | None:
        """Return the quarantined rows of all shards in one table, or None where there are none.

        Raises StoreError where a file is missing or damaged.
        """
        tables = []
        for entry in self.entries():
            if entry.quarantined:
                path = self.quarantine_path(entry.shard)
                remedy = f"delete {self.entry_path(entry.shard)} and run the same command again"
                data = read_recorded(path, entry.quarantine_checksum, remedy)
                tables.append(pq.read_table(pa.BufferReader(data)))
        return pa.concat_tables(tables) if tables else None

    def problems(self) -> Iterator[str]:
        """Yield a line for each file whose bytes are not those recorded for it."""
        for name in self.attached_names():
            try:
                self.attached(name)
            except StoreError as error:
                yield str(error)
        for entry in self.manifest():
            try:
                if _read_entry(self.entry_path(entry.shard)) != entry:
                    yield f"{self.entry_path(entry.shard)} is not what the manifest records"
            except StoreError as error:
                yield str(error)
            wanted = [(self.shard_path(entry.shard), entry.checksum)]
            if entry.quarantined:
                wanted.append((self.quarantine_path(entry.shard), entry.quarantine_checksum))
            for path, expected in wanted:
                if not path.exists():
                    yield f"{path} is missing"
                elif checksum(path.read_bytes()) != expected:
                    yield f"{path} does not have the checksum the manifest records"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for writing and clear what a crashed run left under temporary names.

        Raises StoreError where another running job holds it. The operating system frees the lock
        of a killed process.
        """
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise StoreError(
                f"another job is writing {self.root}; wait for it, or choose another output folder"
            ) from error
        try:
            self._clear_leftovers()
            yield
            self._clear_leftovers()  # those of workers that were killed meanwhile
        finally:
            lock.release()

    def _clear_leftovers(self) -> None:
        for pending in (self.root / "attached").rglob(f".*{PENDING}"):
            path = pending.with_name(pending.name[1:].removesuffix(PENDING))
            counts = _record(path).exists() and _recorded_checksum(_record(path))
            if counts == checksum(pending.read_bytes()):
                os.replace(pending, path)
            else:
                pending.unlink()
        for leftover in self.root.rglob(".*.tmp-*"):
            leftover.unlink(missing_ok=True)


def _read_entry(path: Path) -> ShardEntry:
    try:
        return ShardEntry(**opened(path))
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing, so its shard does not count; run the command that makes the "
            "store again"
        ) from error
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); delete it and run the command again"
        ) from error


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    return "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} asked for" for key in keys)


def ids_by_shard(store: Store) -> dict[int, np.ndarray[Any, Any]]:
    """Return the ids int64 of each shard that readers see."""
    return {e.shard: store.read(e.shard, ["id"])["id"].to_numpy() for e in store.manifest()}
