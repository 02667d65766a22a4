"""What was applied of a deduplication, kept beside it until it is undone."""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes, table_of
from pipeline.dedup.acting import Action

FOLDER = "applied"
UNDONE = "undone"
BEFORE = ("modified", "mode", "owner", "owner_group")  # what a run that was killed may have changed


@dataclass(frozen=True)
class Applied:
    """Steps that were begun, and maybe ended."""

    name: str
    action: Action
    steps: pa.Table  # STEPS


def applied(store: Store) -> list[Applied]:
    """Return what was applied and not undone, the last first."""
    names = store.attached_names(f"{FOLDER}/*.parquet")
    undone = set(store.attached_names(f"{FOLDER}/*.{UNDONE}"))
    return [_read(store, n) for n in reversed(names) if _undone_name(n) not in undone]


def begin(store: Store, steps: pa.Table, action: Action) -> pa.Table:
    """Keep ``steps`` before any of them is done; return them, as they were first begun.

    Those of a run that was killed are gone on with.
    """
    for earlier in applied(store):
        alike = earlier.steps.drop_columns(BEFORE).equals(steps.drop_columns(BEFORE))
        if earlier.action == action and alike:
            return earlier.steps
    number = len(store.attached_names(f"{FOLDER}/*.parquet"))
    told = steps.replace_schema_metadata({"action": action})
    store.attach(f"{FOLDER}/{number:06d}.parquet", parquet_bytes(told))
    return steps


def mark_undone(store: Store, name: str) -> None:
    """Have ``applied`` leave out the steps ``name``."""
    store.attach(_undone_name(name), b"undone")


def _undone_name(name: str) -> str:
    return name.removesuffix("parquet") + UNDONE


def _read(store: Store, name: str) -> Applied:
    table = table_of(store.attached(name) or b"")
    action: Action = (table.schema.metadata or {})[b"action"].decode()
    return Applied(name, action, table.replace_schema_metadata(None))
