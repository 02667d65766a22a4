"""`sluice bench-sign`: what a signature costs beside the scaled decode alone."""

import time
from statistics import median

import click
import pyarrow as pa

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table
from pipeline.cascade.signature import LENGTH, SIDE, signature
from pipeline.core.errors import InputError
from pipeline.images.decode import UndecodableImage, decode_rgb
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.resize import resize_square
from pipeline.images.source import open_source

ROUNDS = 5


@click.command()
@with_config
def command(config: Config) -> None:
    """Time decoding and signing side by side over the first shard of source.url, one thread."""
    import cv2

    cv2.setNumThreads(1)
    source = open_source(config.source.url, config.source.kind)
    images = read_shard(source, plan_manifest(source, config.source.shard_rows), 0)
    photos = decodable(images)
    if not photos:
        raise InputError(f"no image of {source.url}'s first shard decodes; mend source.url")
    rounds = [(_decode_seconds(photos), _sign_seconds(photos)) for _ in range(ROUNDS)]
    decode, sign = (median(times) * 1000 / len(photos) for times in zip(*rounds, strict=True))
    ratio = median(both / alone for alone, both in rounds)
    rows = [
        ("scaled decode alone", decode),
        ("decode, resize and sign", sign),
        ("times the decode", ratio),
    ]
    title = f"{len(photos)} images, {LENGTH} bytes each, median of {ROUNDS} rounds, ms an image"
    print_table(title, ("what", "value"), rows)


def decodable(images: pa.Table) -> list[bytes]:
    """Return the bytes of the images that decode."""
    found = []
    for data in images["bytes"].to_pylist():
        try:
            decode_rgb(data or b"", SIDE)
        except UndecodableImage:
            continue
        found.append(data)
    return found


def _decode_seconds(photos: list[bytes]) -> float:
    began = time.perf_counter()
    for data in photos:
        decode_rgb(data, SIDE)
    return time.perf_counter() - began


def _sign_seconds(photos: list[bytes]) -> float:
    began = time.perf_counter()
    for data in photos:
        image = decode_rgb(data, SIDE)
        signature(resize_square(image.pixels, SIDE), image.width, image.height, len(data))
    return time.perf_counter() - began
