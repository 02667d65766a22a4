"""`sluice bench pixels`: making, decoding and signing images, each beside what bounds it."""

from jobs.config import CorpusConfig
from jobs.console import print_arrow, warn
from jobs.lab.config import LabConfig
from pipeline.cascade.signature import LENGTH, SIDE
from pipeline.core.errors import InputError
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusSettings
from pipeline.embedding.models import SIZE
from pipeline.images.shard_rows import MOST
from pipeline.images.source import list_source
from pipeline.lab.decoders import decodable
from pipeline.lab.pixel_timing import on_one_thread, time_decoders, time_making, time_signing
from pipeline.lab.source_images import first_shard

JPEG = b"\xff\xd8"
MADE = 2000


def command(config: LabConfig) -> None:
    """Time making, decoding and signing images, each beside what bounds it.

    Decoded and signed is the first shard of SOURCE; all on one thread, each way in turn.
    """
    rounds = config.bench_pixels.rounds
    listed = list_source(**config.source.asked())
    photos = decodable(first_shard(listed, config.source.shard_rows or MOST), SIDE)
    if not photos:
        raise InputError(
            f"no image of {listed.source.url}'s first shard decodes; name another source"
        )
    on_one_thread()
    _decode(photos, config.embed.input_size or SIZE, rounds)
    title = f"signing {len(photos)} images, {LENGTH} bytes each, {rounds} rounds"
    print_arrow(title, time_signing(photos, rounds))
    _make(config.corpus, rounds)


def _decode(photos: list[bytes], size: int, rounds: int) -> None:
    jpegs = [data for data in photos if data.startswith(JPEG)]
    if not jpegs:
        warn("left out: ways to decode a JPEG; the first shard holds none")
        return
    title = f"{len(jpegs)} JPEGs to {size} px, one thread, {rounds} rounds, ms an image"
    print_arrow(title, time_decoders(jpegs, size, rounds))


def _make(wanted: CorpusConfig, rounds: int) -> None:
    settings = CorpusSettings(wanted.seed, wanted.copies, wanted.size, wanted.quality)
    photos, _ = load_photos(find_photos(wanted.photos))
    title = f"making {MADE} images, one thread, {rounds} rounds"
    print_arrow(title, time_making(photos, settings, MADE, rounds))
