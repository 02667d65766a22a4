"""`sluice bench precision`: what each backend and precision costs, and how far it drifts."""

from jobs.console import print_table
from jobs.lab.config import LabConfig
from pipeline.core.errors import InputError
from pipeline.embedding.stored import encoder_settings
from pipeline.images.shard_rows import MOST
from pipeline.images.source import list_source
from pipeline.images.squares import decode_squares
from pipeline.lab.pixel_timing import on_one_thread
from pipeline.lab.precision_drift import time_precisions
from pipeline.lab.source_images import first_shard

K = 10
ROUNDS = 3


def command(config: LabConfig) -> None:
    """Time backends and precisions, and measure how far each drifts.

    All that can run here embed the first shard of SOURCE; torch f32 is the reference.
    """
    on_one_thread()
    listed = list_source(**config.source.asked())
    settings = encoder_settings(**config.embed.encoder())
    images = first_shard(listed, config.source.shard_rows or MOST)
    squares = decode_squares(images, settings.input_size, fit=settings.transform.fit).pixels
    if len(squares) <= K:
        raise InputError(f"fewer than {K + 1} images of {listed.source.url}'s first shard decode")
    rows = time_precisions(settings, squares, K, ROUNDS)
    title = (
        f"{len(squares)} images of {listed.source.url}, {settings.model}, {settings.input_size} px"
    )
    header = ("backend", "precision", "ms an image", "least", "most")
    print_table(f"{title}, one thread", (*header, "cosine", "least", f"recall@{K}"), rows)
