"""`sluice bench-corpus`: making corpus images against encoding them alone, on one core."""

import statistics
import time
from collections.abc import Callable

import click
import cv2
import simplejpeg

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusSettings, make_images

IMAGES = 2000


@click.command()
@click.option("--repeats", default=7, show_default=True, type=click.IntRange(1))
@with_config
def command(config: Config, repeats: int) -> None:
    """Time both in turn, REPEATS times; print the images a second and the ratio's spread."""
    cv2.setNumThreads(1)
    wanted = config.corpus
    settings = CorpusSettings(wanted.seed, wanted.copies, wanted.size, wanted.quality)
    photos, _ = load_photos(find_photos(wanted.photos))
    made = [image.jpeg for image in make_images(photos, settings, range(IMAGES))]
    pixels = [simplejpeg.decode_jpeg(jpeg) for jpeg in made]

    def make() -> None:
        for _ in make_images(photos, settings, range(IMAGES)):
            pass

    def encode() -> None:
        for image in pixels:
            simplejpeg.encode_jpeg(image, settings.quality, "RGB", "420")

    runs = [(_seconds(make), _seconds(encode)) for _ in range(repeats)]
    ratios = [whole / alone for whole, alone in runs]
    rows: list[tuple[str, float, float, float]] = []
    for name, values in (
        ("make, images/s on one core", [IMAGES / whole for whole, _ in runs]),
        ("encode alone, images/s on one core", [IMAGES / alone for _, alone in runs]),
        ("make / encode alone, ratio of times", ratios),
    ):
        rows.append((name, statistics.median(values), min(values), max(values)))
    print_table(f"{IMAGES} images, {repeats} repeats", ("what", "median", "least", "most"), rows)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
