"""What the rows of a table are called: the ids and keys they bring, and those made for others."""

from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.images.kinds.kind import Unit, image_id

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Ids

KEYS = ("id", "key", "path", "file_name", "filename")  # columns of text that name an image
MADE = ("bytes", "file", "id", "key", "refused")  # what a kind of source says of an image itself


def named_rows(
    table: "pa.Table", unit: Unit, first: int, taken: str, path: "pa.Array | None" = None
) -> dict[str, Any]:
    """Return the columns id, key, file and a table's own, for its rows from ``first`` on in a unit.

    Its ids are its own where they are integers. Its keys are the first of KEYS that it has as text,
    ``path`` beside the images before a column of that name; where it names none, where the row is.
    The column ``taken`` holds the images; width and height are measured anew.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = range(first, first + table.num_rows)
    places = [f"{unit['path']}#{row}" for row in rows]
    own = {name: table[name] for name in table.column_names}
    columns = own if path is None else own | {"path": path}
    chosen = next((n for n in KEYS if n in columns and _is_text(columns[n].type)), None)
    keys: Any = pa.array(places, pa.string())
    if chosen is not None:
        given = columns[chosen].cast(pa.string())
        named = pc.fill_null(pc.greater(pc.binary_length(given), 0), False)
        keys = pc.if_else(named, given, keys)
    if brings_ids(table.schema):
        ids = table["id"].cast(pa.int64())
    else:
        ids = pa.array([image_id(place, unit["revision"]) for place in places], pa.int64())
    dropped = {taken, "width", "height", "id" if brings_ids(table.schema) else chosen, chosen}
    file = pa.array([unit["path"]] * table.num_rows, pa.string())
    kept = {name: column for name, column in columns.items() if name not in dropped}
    renamed = {f"source_{name}" if name in MADE else name: kept[name] for name in kept}
    return {"id": ids, "key": keys, "file": file} | renamed


def brings_ids(schema: "pa.Schema") -> bool:
    """Return whether a table has ids of its own: a column of integers named id."""
    import pyarrow as pa

    return "id" in schema.names and bool(pa.types.is_integer(schema.field("id").type))


def signed_ids(column: "pa.ChunkedArray", path: str) -> "Ids":
    """Return a file's ids (n,). Raises InputError where one is null or no signed 64-bit number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    remedy = "give every image a number of its own below 2^63, or leave the column out"
    if column.null_count:
        raise InputError(f"{path} has {column.null_count} images without an id; {remedy}")
    most = pc.max(column).as_py() or 0
    if most >= 2**63:
        raise InputError(f"{path} has ids up to {most}; {remedy}")
    ids: Ids = column.cast(pa.int64()).to_numpy()
    return ids


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
