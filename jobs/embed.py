"""`sluice embed`: one CNN vector for every image of a source."""

import click
import pyarrow as pa

from cluster.session import gpu_share, ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config, EmbedConfig
from jobs.console import console, print_table, track
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.encoder import choose_backend
from pipeline.embedding.models import DIMENSIONS, find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.shard_embedder import EmbedPlan, embedding_identity
from pipeline.embedding.stored import stored_encoder
from pipeline.images.gone import gone_ids
from pipeline.images.manifest import (
    MANIFEST,
    kept_manifest,
    pending_units,
    plan_manifest,
    refuse_repeated_ids,
)
from pipeline.images.source import Source, open_source

DECODE_THREADS_A_GPU = 8


@click.command()
@with_config
def command(config: Config) -> None:
    """Embed every image of source.url into embed.output; finished shards are skipped."""
    embed(config)


def embed(config: Config) -> None:
    """Run the job: plan the shards, embed those not yet there, write the manifest."""
    source = open_source(config.source.url, config.source.kind)
    settings = encoder_settings(config.embed)
    output = config.embed.output.resolve()
    store = Store.create(output, "embeddings", embedding_identity(settings))
    record = RunRecord("embed", 0, config.ray.workers)
    with store.lock():
        with record.stage("source manifest"):
            manifest = source_manifest(source, config.source.shard_rows, store)
        done = {entry.shard for entry in store.entries()}
        pending = pending_units(manifest, done)
        shards = sorted(set(pending["shard"].to_pylist()))
        if shards:
            try:
                _embed_shards(config, store, source, pending, settings, shards, record)
            finally:
                record.save(output, further=True)
        store.bury(gone_ids(source, manifest, store))
        entries = store.finish(len(set(manifest["shard"].to_pylist())))
    _print_summary(store, record, len(entries), len(done))


def encoder_settings(embed: EmbedConfig) -> EncoderSettings:
    """Resolve what "auto" means on this machine, and the weights' path and checksum."""
    backend, precision = choose_backend(embed.backend, embed.precision)
    weights = find_weights(embed.model, embed.weights, embed.weights_sha256)
    return EncoderSettings(
        embed.model, weights, backend, precision, embed.input_size, embed.batch_size
    )


def source_manifest(source: Source, shard_rows: int, store: Store) -> pa.Table:
    """Return the store's source manifest, written once and extended when the source has grown."""
    known = kept_manifest(store)
    manifest = plan_manifest(source, shard_rows, known)
    refuse_repeated_ids(source, manifest)
    if known is None or manifest.num_rows > known.num_rows:
        store.attach(MANIFEST, parquet_bytes(manifest))
    return manifest


def _embed_shards(
    config: Config,
    store: Store,
    source: Source,
    pending: pa.Table,
    settings: EncoderSettings,
    shards: list[int],
    record: RunRecord,
) -> None:
    record.images = sum(pending["rows"].to_pylist())
    with record.stage("convert the model"):
        encoder = stored_encoder(store, settings)
    on_gpu = settings.backend == "cuda"
    plan = EmbedPlan(
        source,
        pending,
        store.root,
        encoder,
        DIMENSIONS[settings.model],
        decode_threads=DECODE_THREADS_A_GPU if on_gpu else 1,
    )
    with record.pool() as stats, ray_session(config.ray.workers, config.ray.address):
        gpus = gpu_share(config.ray.workers) if on_gpu else 0.0
        results = map_shards(plan.start, shards, config.ray.workers, gpus_per_worker=gpus)
        stats.extend(track(results, "embed", record.images, "img"))


def _print_summary(store: Store, record: RunRecord, shards: int, skipped: int) -> None:
    manifest = store.manifest()
    rows = [
        ("images embedded", sum(entry.rows for entry in manifest)),
        ("images gone from the source since", len(store.tombstones())),
        ("images quarantined", sum(entry.quarantined for entry in manifest)),
        ("shards", shards),
        ("shards finished by earlier runs", skipped),
        ("bytes", sum(entry.bytes for entry in manifest)),
        ("model", f"{store.identity['model']}, {store.identity['input_size']} px"),
        ("backend", f"{store.identity['backend']} {store.identity['precision']}"),
        ("images/s, workers at work", record.rate),
        ("images/s, while all of them worked", record.steady),
    ]
    print_table(f"embeddings: {store.root}", ("what", "value"), rows)
    refused = store.read_quarantine()
    if refused is not None:
        reasons = refused.group_by("reason").aggregate([("id", "count")]).sort_by("reason")
        rows = list(zip(*reasons.to_pydict().values(), strict=True))
        print_table("quarantined", reasons.column_names, rows)
        console.print(f"each with its reason in {store.root}/quarantine")
