"""Where the rows of some ids, keys or scenes lie, in a sorted file a column beside the shards.

A look-up bisects the first values of its blocks, and reads the blocks that may hold what is asked
for: as many however many rows there are. A map is of the shards it was made over; of any others it
counts as none.
"""

import zlib
from collections.abc import Container
from dataclasses import dataclass
from functools import partial
from struct import Struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import AnyArray, Ids
from pipeline.core.errors import StoreError
from pipeline.core.files import checksum
from pipeline.core.folder import Place
from pipeline.core.makers import made_by
from pipeline.core.objects import ObjectPath
from pipeline.core.side_by_side import side_by_side
from pipeline.core.store import Store
from pipeline.core.tables import ipc_bytes, ipc_table, unified
from pipeline.core.tombstones import without_rows

COLUMNS = ("id", "key", "scene")
BLOCK = 4096  # rows
END = Struct("<QI")  # the length and the CRC-32 of what tells of the blocks, which ends a file
ROW_MAPS = "by_*.arrow"  # what a store keeps them as


def keep_row_maps(store: Store) -> None:
    """Map the rows of the finished ``store`` by those of COLUMNS that it has.

    Nothing is done where that was done of the shards there are. All values of a column are in
    memory at once, for they are sorted.
    """
    made_of = _shards(store)
    for column in COLUMNS:
        if _mapped_by(store, column) and not _is_current(store, column):
            store.attach(_name(column), _sorted_file(store, column, made_of))


def rows_with(
    store: Store,
    column: str,
    values: pa.Array,
    columns: list[str],
    shards: Container[int] | None = None,
) -> pa.Table:
    """Return the ``columns`` of the rows that have one of ``values`` in ``column``.

    They are in the store's order, without the tombstoned. Where the store keeps no such map all
    shards are looked through, or those of ``shards`` that hold them, where that is known. Raises
    StoreError where the map is damaged.
    """
    known = RowMap.kept(store, column)
    if known is None:
        parts = _by_shard(store, column, values, columns, shards)
    else:
        parts = _by_map(store, known.find(values), columns)
    if not parts:
        schema = store.schema()
        return pa.schema([schema.field(name) for name in columns]).empty_table()
    return unified(parts)


def _by_map(store: Store, found: pa.Table, columns: list[str]) -> list[pa.Table]:
    shards, rows = (found[name].to_numpy() for name in ("shard", "row"))
    asked = [(int(shard), np.sort(rows[shards == shard])) for shard in np.unique(shards)]
    wanted, buried = list(dict.fromkeys([*columns, "id"])), store.tombstones()

    def read(one: tuple[int, Ids]) -> pa.Table:
        table = without_rows(store.shards.read_rows(*one, wanted), buried)
        return table.select([name for name in columns if name in table.column_names])

    return list(side_by_side(store.root, read, asked))


def _by_shard(
    store: Store,
    column: str,
    values: pa.Array,
    columns: list[str],
    shards: Container[int] | None,
) -> list[pa.Table]:
    parts: list[pa.Table] = []
    for entry in store.manifest():
        if shards is None or entry.shard in shards:
            known = store.read(entry.shard, [column])[column]
            mine = pc.is_in(known, value_set=values)
            if pc.any(mine).as_py():
                there = store.shards.schema(entry.shard).names
                asked = [name for name in columns if name in there]
                parts.append(store.read(entry.shard, asked).filter(mine))
    return parts


@dataclass(frozen=True)
class RowMap:
    """An open map: (value, shard, row) in the order of the values, read block by block.

    A block is an Arrow stream; no byte of it is looked into before its checksum is compared.
    """

    file: pa.NativeFile
    path: str
    first: AnyArray  # (b,): the first value of each block
    ends: Ids  # (b,): where each ends, in bytes
    checks: Ids  # (b,): the CRC-32 of each
    schema: pa.Schema
    remedy: str

    @classmethod
    def kept(cls, store: Store, column: str) -> "RowMap | None":
        """Open the map by ``column``, None where ``store`` has none of its shards as they are.

        Raises StoreError where it is damaged.
        """
        if not store.attachments.has(_name(column)):
            return None
        path = store.attachments.path(_name(column))
        remedy = f"delete it and its .json, then run {made_by(store.kind)} again"
        try:
            file = _opened(path)
            blocks = ipc_table(_checked_end(file))
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = (str(error).splitlines() or ["?"])[0]
            raise StoreError(f"{path} cannot be read ({reason}); {remedy}") from error
        schema = blocks.schema
        if schema.metadata[b"shards"].decode() != _shards(store):
            return None
        first, ends, checks = (column.to_numpy(zero_copy_only=False) for column in blocks.columns)
        rows = _row_schema(schema.field("first").type)
        return cls(file, str(path), first, ends, checks, rows, remedy)

    def find(self, values: pa.Array) -> pa.Table:
        """Return (value, shard, row, place) of ``values``; those that are not there have none.

        place: the row's number in the order of the map.
        """
        asked = pc.unique(values).to_numpy(zero_copy_only=False)
        # Several rows may have one value, and more than a block of them.
        starts = np.maximum(np.searchsorted(self.first, asked, side="left") - 1, 0)
        stops = np.searchsorted(self.first, asked, side="right")
        runs = [np.arange(*run) for run in zip(starts, stops, strict=True)]
        blocks = np.unique(np.concatenate([np.empty(0, np.int64), *runs]))
        found = [self._found(int(block), values) for block in blocks]
        return pa.concat_tables([self._none(), *found])

    def at(self, places: Ids) -> pa.ChunkedArray:
        """Return the values at ``places`` (n,), ascending, in the order of the map."""
        blocks = places // BLOCK
        return pa.chunked_array(
            [
                chunk
                for block in np.unique(blocks)
                for chunk in self._block(int(block))["value"]
                .take(pa.array(places[blocks == block] % BLOCK))
                .chunks
            ],
            self.schema.field("value").type,
        )

    def _none(self) -> pa.Table:
        return self.schema.append(pa.field("place", pa.int64())).empty_table()

    def _found(self, block: int, values: pa.Array) -> pa.Table:
        table = self._block(block)
        places = pa.array(block * BLOCK + np.arange(table.num_rows))
        mine = pc.is_in(table["value"], value_set=values.cast(self.schema.field("value").type))
        return table.append_column("place", places).filter(mine)

    def _block(self, block: int) -> pa.Table:
        start = int(self.ends[block - 1]) if block else 0
        data = self.file.read_at(int(self.ends[block]) - start, start)
        if zlib.crc32(data) != self.checks[block]:
            raise StoreError(f"{self.path} is damaged (block {block}); {self.remedy}")
        return ipc_table(data)


def _opened(path: Place) -> pa.NativeFile:
    """Open a file of which some parts are read; an object's are fetched by ranges."""
    if isinstance(path, ObjectPath):
        return pa.PythonFile(path.open(), "r")
    return pa.memory_map(str(path))


def _row_schema(kind: pa.DataType) -> pa.Schema:
    return pa.schema([("value", kind), ("shard", pa.int32()), ("row", pa.int32())])


def _name(column: str) -> str:
    return ROW_MAPS.replace("*", column)


def _shards(store: Store) -> str:
    """Return what is another once a shard is."""
    return checksum("".join(f"{e.shard} {e.checksum}\n" for e in store.manifest()).encode())


def _mapped_by(store: Store, column: str) -> bool:
    schema = store.schema()
    kind = schema.field(column).type if column in schema.names else None
    return kind is not None and (pa.types.is_integer(kind) or pa.types.is_string(kind))


def _is_current(store: Store, column: str) -> bool:
    try:
        return RowMap.kept(store, column) is not None
    except StoreError:
        return False


def _sorted_file(store: Store, column: str, made_of: str) -> bytes:
    there = [e.shard for e in store.manifest() if column in store.shards.schema(e.shard).names]
    tables = side_by_side(store.root, partial(store.read_whole, columns=[column]), there)
    parts = [
        pa.table(
            {
                "value": table[column],
                "shard": pa.repeat(pa.scalar(shard, pa.int32()), table.num_rows),
                "row": pa.array(np.arange(table.num_rows, dtype=np.int32)),
            }
        )
        for shard, table in zip(there, tables, strict=True)
    ]
    whole = pa.concat_tables(parts)
    whole = whole.filter(whole["value"].is_valid())
    kind = whole.schema.field("value").type
    if pa.types.is_string(kind):  # of which one array holds 2 GiB
        whole = whole.set_column(0, "value", whole["value"].cast(pa.large_string()))
    whole = whole.take(pc.sort_indices(whole["value"]))  # equal ones stay in the store's order
    blocks = [
        _block_of(whole.slice(start, BLOCK), kind) for start in range(0, whole.num_rows, BLOCK)
    ]
    return _file_of(blocks, kind, made_of)


def _block_of(rows: pa.Table, kind: pa.DataType) -> pa.Table:
    return rows.cast(_row_schema(kind)).combine_chunks()


def _file_of(blocks: list[pa.Table], kind: pa.DataType, made_of: str) -> bytes:
    streams = [ipc_bytes(block) for block in blocks]
    facts = {
        "first": pa.array([block["value"][0].as_py() for block in blocks], kind),
        "end": np.cumsum([len(stream) for stream in streams], dtype=np.int64),
        "check": pa.array([zlib.crc32(stream) for stream in streams], pa.int64()),
    }
    told = ipc_bytes(pa.table(facts).replace_schema_metadata({"shards": made_of}))
    return b"".join([*streams, told, END.pack(len(told), zlib.crc32(told))])


def _checked_end(file: pa.NativeFile) -> bytes:
    """Return what tells of the blocks. Raises ValueError where it has changed."""
    stop = file.size() - END.size
    length, check = END.unpack(file.read_at(END.size, stop))
    told: bytes = file.read_at(length, stop - length) if length <= stop else b""
    if zlib.crc32(told) != check:
        raise ValueError("its end has changed")
    return told
