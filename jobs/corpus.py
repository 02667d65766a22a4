"""`sluice corpus`: distinct JPEGs with known copies, made from a few photographs."""

from math import ceil

from jobs.config import Config
from jobs.console import print_table, warn
from jobs.sitting import Sitting
from pipeline.core.store import Store
from pipeline.corpus.maker import CorpusPlan, corpus_identity
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusSettings


def command(config: Config) -> None:
    """Make distinct JPEGs with known copies from PHOTOS.

    Finished shards are skipped.
    """
    make_corpus(config)


def make_corpus(config: Config) -> None:
    """Run the job: make the shards that are not yet there, write the manifest."""
    wanted = config.corpus
    found = find_photos(wanted.photos)
    photos, refused = load_photos(found)
    for line in refused:
        warn(f"left out: {line}")
    settings = CorpusSettings(wanted.seed, wanted.copies, wanted.size, wanted.quality)
    output = wanted.output.resolve()
    plan = CorpusPlan(found, output, wanted.images, wanted.shard_rows, settings)
    store = Store.create(output, "corpus", corpus_identity(photos, plan))
    count = ceil(wanted.images / wanted.shard_rows)
    with store.lock(), Sitting("corpus", 0, config.ray, output, further=True) as sitting:
        done = {entry.shard for entry in store.entries()}
        shards = [shard for shard in range(count) if shard not in done]
        sitting.record.images = sum(len(plan.numbers(shard)) for shard in shards)
        sitting.fill(plan, shards)
        entries = store.finish(count)
    rows = [
        ("images", sum(entry.rows for entry in entries)),
        ("scenes", ceil(wanted.images / wanted.copies)),
        ("photos", len(photos)),
        ("shards", len(entries)),
        ("shards finished by earlier runs", len(done)),
        ("bytes", sum(entry.bytes for entry in entries)),
        ("images/s, workers at work", sitting.record.rate),
    ]
    print_table(f"corpus: {output}", ("what", "value"), rows)
