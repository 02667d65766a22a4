"""The shards of a store as files: rows, those refused, and the entry that makes both count."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import Ids
from pipeline.core.entries import ShardEntry, latest_entries
from pipeline.core.errors import StoreError
from pipeline.core.files import (
    checksum,
    checksum_at,
    opened,
    read_recorded,
    sealed,
    write_atomically,
)
from pipeline.core.folder import Place, numbered_in
from pipeline.core.makers import made_by
from pipeline.core.objects import ObjectPath, Ranges
from pipeline.core.side_by_side import side_by_side
from pipeline.core.tables import (
    parquet_bytes,
    parquet_footer,
    read_parquet,
    read_parquet_rows,
    table_of,
)

ENTRY = re.compile(r"[0-9]+\.json")


@dataclass(frozen=True)
class Shards:
    """The shards of the store of ``kind`` at ``root``, by their numbers."""

    root: Place
    kind: str

    def path(self, shard: int) -> Place:
        return self.root / "shards" / _named(shard)

    def quarantine_path(self, shard: int) -> Place:
        return self.root / "quarantine" / _named(shard)

    def entry_path(self, shard: int) -> Place:
        return self.root / "entries" / f"{shard:06d}.json"

    def write(
        self, shard: int, table: pa.Table, quarantine: pa.Table | None, row_group: int | None
    ) -> ShardEntry:
        """Write one shard and its quarantined rows, then the entry that makes them count."""
        data = parquet_bytes(table, row_group)
        footer = checksum(parquet_footer(io.BytesIO(data)))
        refused = self._write_quarantine(shard, quarantine)
        write_atomically(self.path(shard), data)
        entry = ShardEntry(shard, table.num_rows, len(data), checksum(data), footer, *refused)
        write_atomically(self.entry_path(shard), sealed(entry._asdict()))
        return entry

    def _write_quarantine(self, shard: int, rows: pa.Table | None) -> tuple[int, str]:
        if rows is None or not rows.num_rows:
            return 0, ""
        data = parquet_bytes(rows)
        write_atomically(self.quarantine_path(shard), data)
        return rows.num_rows, checksum(data)

    def remove(self, shard: int) -> None:
        """Remove the files of a shard, first what makes them count."""
        for path in (self.entry_path(shard), self.path(shard), self.quarantine_path(shard)):
            path.unlink(missing_ok=True)

    def entry(self, shard: int) -> ShardEntry:
        """Return the entry of one shard. Raises StoreError where it is missing or damaged."""
        path, again = self.entry_path(shard), f"run {made_by(self.kind)} again"
        try:
            return ShardEntry(**opened(path))
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing, so its shard does not count; {again}") from error
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and {again}") from error

    def entries(self) -> list[ShardEntry]:
        """Return the entries of the finished shards whose files have their size, by number."""
        folders = [self.root / "shards", self.root / "entries"]
        found, listed = side_by_side(self.root, numbered_in, folders)
        compacted, written = latest_entries(self.root)
        known = {entry.shard: entry for entry in compacted}
        there = {int(n[:-5]): f.modified for n, f in listed.items() if ENTRY.fullmatch(n)}
        new = [n for n, modified in there.items() if n not in known or modified >= written]
        known |= zip(new, side_by_side(self.root, self.entry, new), strict=True)
        entries = (known[shard] for shard in sorted(there))
        return [e for e in entries if (f := found.get(_named(e.shard))) and f.size == e.bytes]

    def read(
        self,
        shard: int,
        columns: list[str] | None = None,
        filters: list[tuple[str, str, Any]] | None = None,
    ) -> pa.Table:
        """Read one shard. Raises StoreError where a file is missing or damaged."""
        file, _ = self._checked(shard)
        return read_parquet(file, self._remedy(shard), columns, filters)

    def read_rows(self, shard: int, rows: Ids, columns: list[str]) -> pa.Table:
        """Read some ``rows`` int (n,), ascending, of one shard. Raises StoreError as ``read``."""
        file, _ = self._checked(shard)
        return read_parquet_rows(file, self._remedy(shard), columns, rows)

    def schema(self, shard: int) -> pa.Schema:
        """Return the schema of a shard, of which it reads the footer alone.

        Raises StoreError as ``read`` does.
        """
        return pq.read_schema(pa.BufferReader(self._checked(shard)[1]))

    def _checked(self, shard: int) -> tuple[Place | Ranges, bytes]:
        """Return a shard's file, of an object opened, and its footer, which is as recorded."""
        path, entry = self.path(shard), self.entry(shard)
        try:
            file, footer = _file_and_footer(path)
        except OSError as error:
            reason = f"{path} cannot be read ({error.strerror})"
            raise StoreError(f"{reason}; {self._remedy(shard)}") from error
        if entry.footer_checksum != checksum(footer):
            reason = f"{path} cannot be read (its footer has changed)"
            raise StoreError(f"{reason}; {self._remedy(shard)}")
        return file, footer

    def _remedy(self, shard: int) -> str:
        return f"delete {self.entry_path(shard)} and run {made_by(self.kind)} again"

    def read_quarantine(self, entry: ShardEntry) -> pa.Table:
        """Read a shard's quarantined rows. Raises StoreError where they are missing or damaged."""
        path = self.quarantine_path(entry.shard)
        data = read_recorded(path, entry.quarantine_checksum, self._remedy(entry.shard))
        return table_of(data)

    def problems(self, entry: ShardEntry) -> Iterator[str]:
        """Yield a line for each file of a shard that is not what the manifest's ``entry`` says."""
        try:
            if self.entry(entry.shard) != entry:
                yield f"{self.entry_path(entry.shard)} is not what the manifest records"
        except StoreError as error:
            yield str(error)
        recorded = [(self.path(entry.shard), entry.checksum)]
        if entry.quarantined:
            recorded.append((self.quarantine_path(entry.shard), entry.quarantine_checksum))
        for path, expected in recorded:
            try:
                if checksum_at(path) != expected:
                    yield f"{path} does not have the checksum the manifest records"
            except FileNotFoundError:
                yield f"{path} is missing"


def _file_and_footer(path: Place) -> tuple[Place | Ranges, bytes]:
    if isinstance(path, ObjectPath):
        remote = path.open()
        return remote, parquet_footer(remote)
    with open(path, "rb") as file:
        return path, parquet_footer(file)


def _named(shard: int) -> str:
    return f"{shard:06d}.parquet"
