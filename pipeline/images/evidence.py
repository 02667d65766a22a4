"""What an image tells of its identity: nothing where it decoded in part or shows one colour."""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.side_by_side import side_by_side
from pipeline.core.store import Store

LEAST_CONTRAST = 8  # levels of 255; below, it is a blank sheet and its noise
COLUMNS = ("decoded", "contrast")
IN_PART, BLANK = "decoded in part", "without contrast"


def evidence_columns(store: Store) -> list[str]:
    """Return those of COLUMNS that a finished store has; vectors that were drawn have none."""
    names = store.columns()
    return [name for name in COLUMNS if name in names]


def doubts(images: pa.Table) -> pa.Array:
    """Return why each of ``images`` is no evidence of identity, null where it is, string (n,)."""
    if not set(COLUMNS) <= set(images.column_names):
        return pa.nulls(images.num_rows, pa.string())
    in_part = pc.less(images["decoded"], 1)
    blank = pc.less(images["contrast"], LEAST_CONTRAST)
    return pc.if_else(in_part, IN_PART, pc.if_else(blank, BLANK, pa.scalar(None, pa.string())))


def evident(images: pa.Table, doubtful: bool) -> pa.Table:
    """Return those of ``images`` that are evidence of identity; ``doubtful``: all."""
    return images if doubtful else images.filter(pc.is_null(doubts(images)))


def told(store: Store) -> list[tuple[str, int]]:
    """Return how many images of a finished store are not all that their files hold."""
    names = [*evidence_columns(store), "pages"]
    shards = [entry.shard for entry in store.manifest()]
    images = pa.concat_tables(side_by_side(store.root, partial(store.read, columns=names), shards))
    reasons = doubts(images)
    return [
        ("images of several pages, of which the first", _count(pc.greater(images["pages"], 1))),
        *((f"images {reason}", _count(pc.equal(reasons, reason))) for reason in (IN_PART, BLANK)),
    ]


def _count(mask: pa.Array) -> int:
    return pc.sum(mask).as_py() or 0
