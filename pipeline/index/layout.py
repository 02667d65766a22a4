"""The version of an index's files. A query imports this, and none of what trains an index."""

from pipeline.core.errors import StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store

LAYOUT = 6


def refuse_other_layout(index: Store) -> None:
    """Raise StoreError where ``index`` has files that this version does not read."""
    if index.identity.get("layout") != LAYOUT:
        raise StoreError(
            f"{index.root} was made by another version of sluice; delete it and run "
            f"{made_by('index')} again"
        )
