"""Ways to decode a JPEG and resize it to the CNN's square, beside ours."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from pipeline.core.arrays import Pixels
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.resize import resize_square

Square = Callable[[bytes, int], Pixels]


def decodable(images: pa.Table, side: int) -> list[bytes]:
    """Return the bytes of those ``images`` (bytes) that decode to at least ``side`` pixels."""
    found = []
    for data in images["bytes"].to_pylist():
        try:
            decode_rgb(data or b"", side)
        except UndecodableImage:
            continue
        found.append(data)
    return found


def ours(data: bytes, size: int) -> Pixels:
    return resize_square(decode_rgb(data, size).pixels, size)


def by_pillow(data: bytes, size: int) -> Pixels:
    """The reference: the whole image decoded, then an antialiased bilinear resize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def by_pillow_draft(data: bytes, size: int) -> Pixels:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (size, size))
    square = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(square)


def by_opencv_area(data: bytes, size: int) -> Pixels:
    pixels = _finest_scale(data, size)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def by_opencv_linear(data: bytes, size: int) -> Pixels:
    pixels = _finest_scale(data, size)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def by_finest_scale(data: bytes, size: int) -> Pixels:
    return resize_square(_finest_scale(data, size), size)


def by_torchvision(data: bytes, size: int) -> Pixels:
    pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    return resize_square(pixels.permute(1, 2, 0).numpy(), size)


def _finest_scale(data: bytes, size: int) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(
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


def psnr(pixels: Pixels, reference: Pixels) -> float:
    """Return the peak signal-to-noise ratio of ``pixels``, dB; 99 where they are equal."""
    error = float(np.mean((pixels.astype(np.float64) - reference) ** 2))
    return float(10 * np.log10(255**2 / error)) if error else 99.0
