"""Image bytes to RGB pixels, at the smallest JPEG scale that still covers what is asked for."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

DECODER = f"simplejpeg {simplejpeg.__version__} DCT-scaled, else pillow {PIL.__version__}"
MAX_PIXELS = 89_478_485  # the size Pillow warns at: 256 MiB of RGB
EXIF_ORIENTATION = 0x0112


class UndecodableImage(Exception):  # noqa: N818 (a fact about an image, as StopIteration is)
    """An image for the quarantine: ``reason`` is one of a few words, ``detail`` what was met."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """RGB pixels uint8 (h, w, 3), perhaps scaled down; width and height are the original's."""

    pixels: np.ndarray[Any, Any]
    width: int
    height: int


def decode_rgb(data: bytes, min_side: int) -> DecodedImage:
    """Decode ``data`` upright (EXIF orientation applied), transparency laid on white.

    JPEGs are decoded at the smallest of libjpeg's scales whose sides are both >= ``min_side``.
    Raises UndecodableImage("empty" | "not-an-image" | "too-large" | "truncated" |
    "damaged").
    """
    if not data:
        raise UndecodableImage("empty", "0 bytes")
    if data[:2] == b"\xff\xd8" and b"Exif\x00\x00" not in data[:65536]:
        fast = _decode_plain_jpeg(data, min_side)
        if fast is not None:
            return fast
    return _decode_by_pillow(data, min_side)


def _decode_plain_jpeg(data: bytes, min_side: int) -> DecodedImage | None:
    """Decode by libjpeg-turbo; None for what it refuses, which Pillow then judges."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _refuse_bomb(width, height)
    if colorspace in ("CMYK", "YCCK"):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(
            data, colorspace="RGB", min_height=min_side, min_width=min_side, strict=True
        )
    except ValueError:
        return None
    return DecodedImage(pixels, width, height)


def _decode_by_pillow(data: bytes, min_side: int) -> DecodedImage:
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            _refuse_bomb(width, height)
            sideways = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            image.draft("RGB", (min_side, min_side))
            upright = ImageOps.exif_transpose(image)
            pixels = np.ascontiguousarray(_rgb(upright))
    except UndecodableImage:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableImage("not-an-image", f"begins with {data[:8]!r}") from error
    except Image.DecompressionBombError as error:
        raise UndecodableImage("too-large", str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything for damaged bytes
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise UndecodableImage(reason, f"{type(error).__name__}: {error}") from error
    return DecodedImage(pixels, *((height, width) if sideways else (width, height)))


def _rgb(image: Image.Image) -> np.ndarray[Any, Any]:
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit greys to 255 instead of scaling them.
        grey = np.asarray(image).astype(np.float32)
        scaled = np.clip(
            grey / (257.0 if image.mode.startswith("I;16") or grey.max() > 255 else 1.0), 0, 255
        )
        return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UndecodableImage(
            "too-large", f"{width} x {height} pixels; the limit is {MAX_PIXELS:,}"
        )
