"""`sluice embed`: one CNN vector for every image of a source."""

from jobs.config import Config
from jobs.console import print_not_taken, print_table
from jobs.embeddings import embeddings_store
from jobs.sitting import Sitting, print_more_workers
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.embedding.choice import kept_tried, tried_rows
from pipeline.embedding.embed_source import embed_source
from pipeline.embedding.kept_loss import K, PrecisionLoss
from pipeline.embedding.precision_loss import measure_loss
from pipeline.images.evidence import told
from pipeline.images.fill import Filled
from pipeline.images.source import list_source


def command(config: Config) -> None:
    """Embed every image of SOURCE with a CNN.

    Finished shards are skipped.
    """
    embed(config)


def embed(config: Config) -> Store:
    """Run the job: plan the shards, embed those not yet there, write the manifest."""
    listed = list_source(**config.source.asked())
    settings, store = embeddings_store(config, listed)
    on_gpu = settings.backend == "cuda"
    with Sitting("embed", 0, config.ray, store.root, further=True, on_gpu=on_gpu) as sitting:
        filled = embed_source(
            store,
            listed,
            config.shard_rows(),
            settings,
            sitting.spread,
            sitting.record,
            config.embed.seconds_an_image,
        )
        with sitting.stage("measure the precision"):
            loss = sitting.near_gpu(
                settings.backend, lambda: measure_loss(store, listed.source, settings)
            )
    _print_summary(store, sitting.record, filled, loss)
    return store


def _print_summary(
    store: Store, record: RunRecord, filled: Filled, loss: PrecisionLoss | None
) -> None:
    rows = [
        ("images embedded", sum(entry.rows for entry in filled.entries)),
        ("images gone from the source since", len(store.tombstones())),
        ("images quarantined", filled.quarantine.num_rows),
        ("images gone before they were read", filled.missing),
        *told(store),
        ("shards", len(filled.entries)),
        ("shards finished by earlier runs", filled.earlier),
        ("bytes", sum(entry.bytes for entry in filled.entries)),
        ("model", f"{store.identity['model']}, {store.identity['input_size']} px"),
        ("backend", f"{store.identity['backend']} {store.identity['precision']}"),
        *tried_rows(kept_tried(store)),
        *([(f"its {K} nearest that are f32's too", _share(loss))] if loss else []),
        ("images/s, workers at work", record.rate),
        ("images/s, while all of them worked", record.steady),
    ]
    print_table(f"embeddings: {store.root}", ("what", "value"), rows)
    print_not_taken(filled, store.root)
    print_more_workers(record)


def _share(loss: PrecisionLoss) -> str:
    return f"{loss.recall:.3f}, measured on {loss.images} of its images"
