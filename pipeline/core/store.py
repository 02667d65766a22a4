"""A store: a folder of Parquet shards, a completion entry for each, and one manifest.

A shard counts once its entry exists: the shard file is written under a temporary name and renamed,
and only then the entry is. What a crash leaves behind has no entry, so the next run writes it anew.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.arrays import Ids
from pipeline.core.attachments import Attachments
from pipeline.core.attempts import Attempts
from pipeline.core.entries import ShardEntry
from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.header import (
    Header,
    begin,
    compact_entries,
    read_header,
    read_manifest,
    write_manifest,
)
from pipeline.core.lock import locked
from pipeline.core.makers import made_by
from pipeline.core.objects import ObjectPath
from pipeline.core.paths import may_write
from pipeline.core.shards import Shards
from pipeline.core.side_by_side import side_by_side
from pipeline.core.tombstones import keep_tombstones, read_tombstones, without_rows

COMPACTED = 5000  # shards


class Store:
    """The shards of one kind ("corpus", "embeddings", ...) made with one identity (settings)."""

    def __init__(self, root: Place, header: Header) -> None:
        self.root = root
        self.kind = header.kind
        self.identity = header.identity
        self.shards = Shards(root, header.kind)
        self.attachments = Attachments(root / "attached", header.kind)
        self.attempts = Attempts(root / "attempts")
        self._tombstones: Ids | None = None
        self._followed: dict[int, ShardEntry] | None = None

    @classmethod
    def create(cls, root: Place, kind: str, identity: Mapping[str, Any]) -> "Store":
        """Open the store at ``root``, making it where there is none.

        Raises StoreError where the folder holds a store of another kind or identity.
        """
        return cls(root, begin(root, kind, identity))

    @classmethod
    def open(cls, root: Place, kind: str | None = None) -> "Store":
        """Open an existing store, of any kind where none is named.

        Raises InputError where there is none, StoreError where it is damaged, newer or of another
        kind.
        """
        return cls(root, read_header(root, kind))

    def write_shard(
        self,
        shard: int,
        table: pa.Table,
        quarantine: pa.Table | None = None,
        row_group: int | None = None,
    ) -> ShardEntry:
        """Write one shard and its quarantined rows, then the entry that makes them count."""
        entry = self.shards.write(shard, table, quarantine, row_group)
        self.attempts.forget(shard)
        return entry

    def attach(self, name: str, data: bytes) -> None:
        """Keep ``data`` beside the shards under ``name``, as ``Attachments.keep`` does."""
        self.attachments.keep(name, data)

    def attached(self, name: str, remedy: str | None = None) -> bytes | None:
        """Return what is kept under ``name``, None where nothing is.

        Raises StoreError, ending with ``remedy``, where it is damaged.
        """
        return self.attachments.read(name, remedy)

    def attached_names(self, pattern: str = "**/*") -> list[str]:
        """Return the names of what is kept, in order; ``pattern`` is a glob over them."""
        return self.attachments.names(pattern)

    def tombstones(self) -> Ids:
        """Return the ids (n,) whose images have left the source, in ascending order."""
        if self._tombstones is None:
            self._tombstones = read_tombstones(self.attachments)
        return self._tombstones

    def bury(self, ids: list[int]) -> None:
        """Make ``ids`` the tombstones: readers of the store no longer see their rows."""
        if ids != self.tombstones().tolist():
            keep_tombstones(self.attachments, ids)
            self._tombstones = None

    def images(self) -> int:
        """Return the number of rows that readers see. Raises InputError where it is unfinished."""
        return self.rows() - len(self.tombstones())

    def rows(self) -> int:
        """Return the number of all rows, the tombstoned too. Raises as ``images`` does."""
        return sum(entry.rows for entry in self.manifest())

    def entries(self) -> list[ShardEntry]:
        """Return the entries of the finished shards whose files have their size, by number."""
        if self._followed is None:
            return self.shards.entries()
        return [self._followed[shard] for shard in sorted(self._followed)]

    @contextmanager
    def followed(self) -> Iterator[None]:
        """List the entries once for the block, in which all are written by ``compacting``'s."""
        self._followed = {entry.shard: entry for entry in self.shards.entries()}
        try:
            yield
        finally:
            self._followed = None

    def compacting(self, answers: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield ``answers``, one a shard that was written, and compact the entries now and then.

        A run that is broken off is then gone on with without reading each. An answer's ``entry`` is
        what was written of its ``shard``.
        """
        for number, answer in enumerate(answers, 1):
            if self._followed is not None:
                entry = ShardEntry(**answer["entry"][0].as_py())
                self._followed[entry.shard] = entry
            yield answer
            if number % COMPACTED == 0:
                compact_entries(self.root, self.entries())

    def finish(self, shards: int) -> list[ShardEntry]:
        """Write manifest.json over all ``shards`` entries; raises StoreError if one is missing."""
        entries = self.entries()
        missing = set(range(shards)) - {entry.shard for entry in entries}
        if missing:
            raise StoreError(
                f"{self.root} lacks {len(missing)} of {shards} shards (first: {min(missing)}); "
                f"run {made_by(self.kind)} again to make them"
            )
        write_manifest(self.root, Header(self.kind, self.identity), entries)
        return entries

    def manifest(self) -> list[ShardEntry]:
        """Return the entries of a finished store.

        Raises InputError where it is not finished, StoreError where the manifest is damaged.
        """
        return read_manifest(self.root, self.kind)

    def columns(self) -> list[str]:
        """Return the names of the columns of a finished store's shards, none where it has none.

        Raises as ``schema`` does.
        """
        names: list[str] = self.schema().names
        return names

    def schema(self) -> pa.Schema:
        """Return the schema of a finished store's shards, an empty one where it has none.

        It is in the first one's footer: no row is read. Raises as ``manifest`` and ``read`` do.
        """
        entries = self.manifest()
        return self.shards.schema(entries[0].shard) if entries else pa.schema([])

    def read(self, shard: int, columns: list[str] | None = None) -> pa.Table:
        """Read one shard without its tombstoned rows.

        Raises StoreError where the file is missing or damaged.
        """
        buried = self.tombstones()
        if not len(buried):
            return self.read_whole(shard, columns)
        with_id = columns if columns is None or "id" in columns else [*columns, "id"]
        table = self.read_whole(shard, with_id)
        return without_rows(table, buried).select(columns or table.column_names)

    def read_whole(
        self,
        shard: int,
        columns: list[str] | None = None,
        filters: list[tuple[str, str, Any]] | None = None,
    ) -> pa.Table:
        """Read one shard, or its rows that pass ``filters``, with the tombstoned ones.

        Raises StoreError as ``read`` does.
        """
        return self.shards.read(shard, columns, filters)

    def read_quarantine(self) -> pa.Table | None:
        """Return the quarantined rows of all shards in one table, or None where there are none.

        Raises StoreError where a file is missing or damaged.
        """
        entries = (entry for entry in self.entries() if entry.quarantined)
        tables = list(side_by_side(self.root, self.shards.read_quarantine, entries))
        return pa.concat_tables(tables) if tables else None

    def problems(self) -> Iterator[str]:
        """Yield a line for each file whose bytes are not those recorded for it."""
        yield from self.attachments.damaged().values()
        for lines in self.damaged().values():
            yield from lines

    def damaged(self) -> dict[int, list[str]]:
        """Return a line for each damaged file of a finished store's shards, by shard."""
        entries = self.manifest()

        def problems(entry: ShardEntry) -> list[str]:
            return list(self.shards.problems(entry))

        found = zip(entries, side_by_side(self.root, problems, entries), strict=True)
        return {entry.shard: lines for entry, lines in found if lines}

    def drop(self, shards: Iterable[int]) -> None:
        """Remove shards with their entries, of which the store is then unfinished."""
        (self.root / "manifest.json").unlink(missing_ok=True)
        for shard in shards:
            self.shards.remove(shard)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store for writing and clear what a crashed run left under temporary names.

        A finished store that cannot be written to is not held: what has nothing to do there ends
        well, and what has is told by the first file it writes. Raises StoreError where another
        running job holds it.
        """
        if not may_write(self.root) and (self.root / "manifest.json").exists():
            yield
            return
        with locked(self.root):
            self.attachments.settle()
            self._clear_temporaries()
            self._settle_attempts()
            try:
                yield
                self.attachments.settle()
            finally:
                self._clear_temporaries()  # those of workers that were killed meanwhile
                self.attempts.end()

    def _settle_attempts(self) -> None:
        for shard in self.attempts.shards():
            if self.shards.entry_path(shard).exists():
                self.attempts.forget(shard)
            else:
                self.attempts.new_run(shard)

    def _clear_temporaries(self) -> None:
        if isinstance(self.root, ObjectPath):  # where nothing is there in part
            return
        for folder, _, names in os.walk(self.root):  # a glob takes ten times as long
            for name in names:
                if name.startswith(".") and ".tmp-" in name:
                    Path(folder, name).unlink(missing_ok=True)


def ids_by_shard(store: Store) -> dict[int, Ids]:
    """Return the ids of each shard that readers see."""
    return {e.shard: store.read(e.shard, ["id"])["id"].to_numpy() for e in store.manifest()}
