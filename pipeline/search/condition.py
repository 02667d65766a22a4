"""A condition on what is known of images beside their pixels: SQL, as after WHERE.

DuckDB reads and evaluates it, and is imported only where a condition is asked for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Mask
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# No file, no extension and no variable of this process can be reached, and no setting changed.
SAFE: dict[str, Any] = {
    "threads": 1,
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
UNSTEADY = """
    SELECT function_name FROM duckdb_functions() GROUP BY function_name
    HAVING NOT bool_or(coalesce(stability, 'CONSISTENT') = 'CONSISTENT')
"""

EXAMPLE = "write it as after SQL's WHERE, as label = 'cat' and width >= 800,"
NO_CONDITION = {
    "SUBQUERY": "it asks about more than one image",
    "STAR": "columns are asked about by name",
}


@dataclass(frozen=True)
class Condition:
    """What images must fulfil, checked by ``condition_over``."""

    text: str
    columns: tuple[str, ...]  # those it asks about

    def holds(self, table: pa.Table) -> Mask:
        """Return bool (n,): the rows for which it is true; a null makes it neither.

        A column that ``table`` lacks is null. Raises ConfigError where a value cannot be compared.
        """
        import duckdb

        if not self.columns:
            table = table.select([]).append_column("row", pa.array(np.arange(table.num_rows)))
        lacking = [name for name in self.columns if name not in table.column_names]
        for name in lacking:
            table = table.append_column(name, pa.nulls(table.num_rows))
        asked = table.select(self.columns) if self.columns else table
        try:
            # As a column: a filter would be pushed into DuckDB's scan of Arrow, which knows fewer
            # types and compares nulls with NaN.
            found = _duckdb().from_arrow(asked).project(self.text).to_arrow_table()
        except duckdb.Error as error:
            raise _refused(self.text, _reason(error)) from error
        held: Mask = np.asarray(found.column(0).fill_null(False).to_numpy(), np.bool_)
        return held


def condition_over(text: str, schema: pa.Schema) -> Condition:
    """Return the condition that ``text`` states on the columns of ``schema``, vectors apart.

    Raises ConfigError where it is no condition on one image, asks about a column that is not there,
    or does not give the same whenever it is asked.
    """
    import duckdb

    there = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    over = f"{EXAMPLE} over the columns {', '.join(there)}"
    columns = _asked_columns(text, _parsed(text, over), there, over)
    fields = [pa.field(name, schema.field(name).type) for name in columns]
    fields = fields or [pa.field("row", pa.int64())]
    try:
        nulls = [pa.nulls(1, field.type) for field in fields]  # a row: constants are cast
        one = _duckdb().from_arrow(pa.table(nulls, pa.schema(fields)))
        one.filter(text)  # refuses what project takes: aggregates, windows, statements
        asked = one.project(text)
        types = [str(kind) for kind in asked.types]
        asked.fetchall()
    except duckdb.Error as error:
        raise _refused(text, _reason(error), over) from error
    if types != ["BOOLEAN"]:
        raise _refused(text, f"it is {' and '.join(types)}, not true or false", over)
    return Condition(text, columns)


@cache
def _duckdb() -> "DuckDBPyConnection":
    import duckdb

    return duckdb.connect(":memory:", config=SAFE)


def _parsed(text: str, over: str) -> list[dict[str, Any]]:
    """Return the nodes of DuckDB's parse of ``text``."""
    if not text.strip():
        raise _refused(text, "it is empty", over)
    asked = f"SELECT 1 FROM images WHERE (\n{text}\n)"
    rows = _duckdb().execute("SELECT json_serialize_sql(?)", [asked]).fetchall()
    tree = json.loads(rows[0][0])
    if tree["error"]:
        raise _refused(text, tree["error_message"], over)
    nodes = list(_nodes([part["node"].get("where_clause") for part in tree["statements"]]))
    for kind in [node["class"] for node in nodes if node.get("class") in NO_CONDITION]:
        raise _refused(text, NO_CONDITION[kind], over)
    unsteady = {name for (name,) in _duckdb().execute(UNSTEADY).fetchall()}
    called = {node["function_name"] for node in nodes if node.get("class") == "FUNCTION"}
    for name in sorted(called & unsteady):
        raise _refused(text, f"{name} does not give the same for an image always", over)
    return nodes


def _asked_columns(
    text: str, nodes: list[dict[str, Any]], there: list[str], over: str
) -> tuple[str, ...]:
    """Return the columns among ``there`` that are asked about; SQL's names have no case."""
    lambdas = [node["lhs"] for node in nodes if node.get("class") == "LAMBDA"]
    own = _names(lambdas)
    found: dict[str, str] = {}
    for name in _names(nodes):
        exact = [column for column in there if column == name]
        alike = exact or [column for column in there if column.lower() == name.lower()]
        if not alike and name not in own:
            hint = "; text stands in single quotes" if f'"{name}"' in text else ""
            raise _refused(text, f"there is no column {name}{hint}", over)
        for column in alike:
            if found.setdefault(column.lower(), column) != column:
                raise _refused(text, "two columns differ in case alone", over)
    return tuple(found.values())


def _names(tree: Any) -> list[str]:
    nodes = [node for node in _nodes(tree) if node.get("class") == "COLUMN_REF"]
    return sorted({node["column_names"][0] for node in nodes})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].split(" Error: ", 1)[-1]


def _refused(text: str, reason: str, remedy: str = "mend it or the column") -> ConfigError:
    return ConfigError(f"search.where cannot be {text!r}: {reason}; {remedy}")
