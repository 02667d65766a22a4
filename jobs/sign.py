"""`sluice sign`: a cheap signature and the header facts of every image of a source."""

import click

from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table, track
from jobs.embed import source_manifest
from pipeline.cascade.shard_signer import SignPlan, signature_identity
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.images.gone import gone_ids
from pipeline.images.manifest import pending_units
from pipeline.images.source import open_source


@click.command()
@with_config
def command(config: Config) -> None:
    """Sign every image of source.url into sign.output; finished shards are skipped."""
    sign(config)


def sign(config: Config) -> None:
    """Run the job: plan the shards, sign those not yet there, write the manifest."""
    source = open_source(config.source.url, config.source.kind)
    output = config.sign.output.resolve()
    store = Store.create(output, "signatures", signature_identity())
    record = RunRecord("sign", 0, config.ray.workers)
    with store.lock():
        with record.stage("source manifest"):
            manifest = source_manifest(source, config.source.shard_rows, store)
        done = {entry.shard for entry in store.entries()}
        pending = pending_units(manifest, done)
        shards = sorted(set(pending["shard"].to_pylist()))
        if shards:
            try:
                _sign_shards(config, SignPlan(source, pending, output), shards, record)
            finally:
                record.save(output, further=True)
        store.bury(gone_ids(source, manifest, store))
        entries = store.finish(len(set(manifest["shard"].to_pylist())))
    rows = [
        ("images signed", sum(entry.rows for entry in entries)),
        ("images quarantined", sum(entry.quarantined for entry in entries)),
        ("shards finished by earlier runs", len(done)),
        ("bytes", sum(entry.bytes for entry in entries)),
        ("images/s, workers at work", record.rate),
    ]
    print_table(f"signatures: {output}", ("what", "value"), rows)


def _sign_shards(config: Config, plan: SignPlan, shards: list[int], record: RunRecord) -> None:
    record.images = sum(plan.manifest["rows"].to_pylist())
    with record.pool() as stats, ray_session(config.ray.workers, config.ray.address):
        results = map_shards(plan.start, shards, config.ray.workers)
        stats.extend(track(results, "sign", record.images, "img"))
