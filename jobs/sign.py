"""`sluice sign`: a cheap signature and the header facts of every image of a source."""

from jobs.config import Config
from jobs.console import print_not_taken, print_table
from jobs.sitting import Sitting, print_more_workers
from pipeline.cascade.shard_signer import signature_identity
from pipeline.cascade.sign_source import sign_source
from pipeline.core.store import Store
from pipeline.images.evidence import told
from pipeline.images.source import list_source


def command(config: Config) -> None:
    """Write a cheap signature of every image of SOURCE.

    Finished shards are skipped.
    """
    sign(config)


def sign(config: Config) -> None:
    """Run the job: plan the shards, sign those not yet there, write the manifest."""
    listed = list_source(**config.source.asked())
    store = Store.create(config.sign.output.resolve(), "signatures", signature_identity())
    with Sitting("sign", 0, config.ray, store.root, further=True) as sitting:
        filled = sign_source(
            store,
            listed,
            config.shard_rows(),
            sitting.spread,
            sitting.record,
            config.embed.seconds_an_image,
        )
    rows = [
        ("images signed", sum(entry.rows for entry in filled.entries)),
        ("images quarantined", filled.quarantine.num_rows),
        ("images gone before they were read", filled.missing),
        *told(store),
        ("shards finished by earlier runs", filled.earlier),
        ("bytes", sum(entry.bytes for entry in filled.entries)),
        ("images/s, workers at work", sitting.record.rate),
    ]
    print_table(f"signatures: {store.root}", ("what", "value"), rows)
    print_not_taken(filled, store.root)
    print_more_workers(sitting.record)
