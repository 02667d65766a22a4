"""Embedding a whole source into a store."""

import pyarrow as pa

from pipeline.core.run_record import RunRecord
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.shard_embedder import EmbedPlan
from pipeline.embedding.stored import stored_encoder
from pipeline.images.deadline import SECONDS_AN_IMAGE
from pipeline.images.fill import Filled, fill_from_source
from pipeline.images.shard_rows import ShardRows
from pipeline.images.source import Listed

DECODE_THREADS_A_GPU = 8


def embed_source(
    store: Store,
    listed: Listed,
    shard_rows: ShardRows,
    settings: EncoderSettings,
    spread: Spread,
    record: RunRecord,
    seconds_an_image: float = SECONDS_AN_IMAGE,
) -> Filled:
    """Embed every image of a source that ``store`` lacks; finished shards are skipped.

    Raises as ``fill_from_source`` does.
    """

    def plan_of(pending: pa.Table) -> EmbedPlan:
        with record.stage("convert the model"):
            encoder = stored_encoder(store, settings)
        threads = DECODE_THREADS_A_GPU if settings.backend == "cuda" else 1
        return EmbedPlan(listed.source, pending, store.root, encoder, threads, seconds_an_image)

    return fill_from_source(store, listed, shard_rows, plan_of, spread, record)
