"""Signing a whole source into a store."""

from pipeline.cascade.shard_signer import SignPlan
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.images.deadline import SECONDS_AN_IMAGE
from pipeline.images.fill import Filled, fill_from_source
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed


def sign_source(
    store: Store,
    listed: Listed,
    shard_rows: ShardRows,
    spread: Spread,
    record: RunRecord,
    seconds_an_image: float = SECONDS_AN_IMAGE,
) -> Filled:
    """Sign every image of a source that ``store`` lacks; finished shards are skipped.

    Raises as ``fill_from_source`` does.
    """
    return fill_from_source(
        store,
        listed,
        shard_rows,
        lambda pending: SignPlan(listed.source, pending, store.root, seconds_an_image),
        spread,
        record,
    )
