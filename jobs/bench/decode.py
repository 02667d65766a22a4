"""`sluice bench-decode`: ways to decode and resize a JPEG for the CNN, side by side."""

import io
import time
from collections.abc import Callable
from typing import Any

import click
import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from jobs.bench.sign import decodable
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table
from pipeline.core.errors import InputError
from pipeline.images.decode import decode_rgb
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.resize import resize_square
from pipeline.images.source import open_source

ROUNDS = 5
Square = Callable[[bytes, int], np.ndarray[Any, Any]]


@click.command()
@with_config
def command(config: Config) -> None:
    """Time each way over source.url's first shard, in turn; say how close its pixels come."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    source = open_source(config.source.url, config.source.kind)
    images = read_shard(source, plan_manifest(source, config.source.shard_rows), 0)
    photos = [data for data in decodable(images) if data[:2] == b"\xff\xd8"]
    if not photos:
        raise InputError(f"{source.url}'s first shard holds no JPEG that decodes")
    size = config.embed.input_size
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            times[name].append(_milliseconds(way, photos, size))
    rows = [
        (
            name,
            float(np.median(times[name])),
            min(times[name]),
            max(times[name]),
            float(np.mean([psnr(way(d, size), by_pillow(d, size)) for d in photos[:100]])),
        )
        for name, way in WAYS.items()
    ]
    title = f"{len(photos)} JPEGs to {size} px, one thread, {ROUNDS} rounds, ms an image"
    print_table(title, ("way", "median", "least", "most", "PSNR to Pillow, dB"), rows)


def ours(data: bytes, size: int) -> np.ndarray[Any, Any]:
    return resize_square(decode_rgb(data, size).pixels, size)


def by_pillow(data: bytes, size: int) -> np.ndarray[Any, Any]:
    """The reference: the whole image decoded, then an antialiased bilinear resize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def by_pillow_draft(data: bytes, size: int) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (size, size))
    square = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(square)


def by_opencv_area(data: bytes, size: int) -> np.ndarray[Any, Any]:
    pixels = _finest_scale(data, size)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA))


def by_opencv_linear(data: bytes, size: int) -> np.ndarray[Any, Any]:
    pixels = _finest_scale(data, size)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR))


def by_finest_scale(data: bytes, size: int) -> np.ndarray[Any, Any]:
    return resize_square(_finest_scale(data, size), size)


def by_torchvision(data: bytes, size: int) -> np.ndarray[Any, Any]:
    pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    return resize_square(pixels.permute(1, 2, 0).numpy(), size)


def _finest_scale(data: bytes, size: int) -> np.ndarray[Any, Any]:
    pixels: np.ndarray[Any, Any] = simplejpeg.decode_jpeg(
        data, colorspace="RGB", min_height=size, min_width=size, strict=True
    )
    return pixels


WAYS: dict[str, Square] = {
    "ours: simplejpeg scaled by 2, torch antialiased": ours,
    "simplejpeg at the finest scale, torch antialiased": by_finest_scale,
    "simplejpeg at the finest scale, OpenCV area": by_opencv_area,
    "simplejpeg at the finest scale, OpenCV linear (aliases)": by_opencv_linear,
    "torchvision whole, torch antialiased": by_torchvision,
    "Pillow draft, reducing_gap 2": by_pillow_draft,
    "Pillow whole, bilinear": by_pillow,
}


def psnr(pixels: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    """Return the peak signal-to-noise ratio of uint8 ``pixels``, dB; 99 where they are equal."""
    error = float(np.mean((pixels.astype(np.float64) - reference) ** 2))
    return float(10 * np.log10(255**2 / error)) if error else 99.0


def _milliseconds(way: Square, photos: list[bytes], size: int) -> float:
    began = time.perf_counter()
    for data in photos:
        way(data, size)
    return (time.perf_counter() - began) * 1000 / len(photos)
