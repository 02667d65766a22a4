"""The stage that compares what is known of the images beside their pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cascade.stages.stage import Stage
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import Mask
    from pipeline.search.condition import Condition

Where = Sequence[tuple[str, str, Any]]  # (column, operator, value), all of which must hold

STAGE = Stage("metadata", where=True)


def matching(table: "pa.Table", where: Where, condition: "Condition | None" = None) -> "Mask":
    """Return bool (n,): the rows for which all of ``where`` hold, and ``condition`` where one does.

    Raises ConfigError for a column that is not there or a value it cannot be compared with.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = condition.holds(table) if condition else np.ones(table.num_rows, np.bool_)
    if not where:
        return held
    missing = sorted({column for column, _, _ in where} - set(table.column_names))
    if missing:
        raise ConfigError(
            f"cascade.stages: no column {missing[0]}; there are {', '.join(table.column_names)}"
        )
    rows = table.select(list(dict.fromkeys(column for column, _, _ in where))).append_column(
        "_row", pa.array(np.arange(table.num_rows))
    )
    try:
        kept = rows.filter(pq.filters_to_expression(list(where)))["_row"].to_numpy()
    except (pa.ArrowException, ValueError) as error:
        raise ConfigError(f"cascade.stages: the metadata filter cannot run ({error})") from error
    found = np.zeros(table.num_rows, np.bool_)
    found[kept] = True
    return found & held
