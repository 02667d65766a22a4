"""Image bytes to RGB pixels, at the smallest JPEG scale that still covers what is asked for."""

import io
from dataclasses import dataclass

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.arrays import Pixels

DECODER = f"simplejpeg {simplejpeg.__version__} DCT-scaled by 2, else pillow {PIL.__version__}"
MAX_PIXELS = 89_478_485  # the size Pillow warns at: 256 MiB of RGB
# What Pillow may open: of the rest, EPS would be handed to Ghostscript to run.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
# What begins so but opens as no image is a damaged one.
FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\x00", b"MM\x00*")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height


class UndecodableImage(Exception):  # noqa: N818 (a fact about an image, as StopIteration is)
    """An image for the quarantine: ``reason`` is one of a few words, ``detail`` what was met."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """RGB pixels (h, w, 3), perhaps scaled down; width and height are the original's."""

    pixels: Pixels
    width: int
    height: int


def decode_rgb(data: bytes, min_side: int) -> DecodedImage:
    """Decode ``data`` upright (EXIF orientation applied), transparency laid on white.

    JPEGs are decoded at the smallest scale of 1, 1/2, 1/4 and 1/8 whose sides are both >=
    ``min_side``; libjpeg's scales between are not vectorised and cost more than they save.
    Raises UndecodableImage("empty" | "not-an-image" | "too-large" | "truncated" |
    "damaged").
    """
    if not data:
        raise UndecodableImage("empty", "0 bytes")
    if data[:2] == b"\xff\xd8":
        fast = _decode_jpeg(data, min_side)
        if fast is not None:
            return fast
    return _decode_by_pillow(data, min_side)


def _decode_jpeg(data: bytes, min_side: int) -> DecodedImage | None:
    """Decode by libjpeg-turbo; None for what it refuses, which Pillow then judges."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _refuse_bomb(width, height)
        if colorspace in ("CMYK", "YCCK"):
            return None
        orientation = _exif_orientation(data)
        rows, columns = _scaled_size(height, width, min_side)
        pixels = simplejpeg.decode_jpeg(
            data, colorspace="RGB", min_height=rows, min_width=columns, strict=True
        )
    except UndecodableImage:
        raise
    except Exception:  # Pillow reads the EXIF here, and raises nearly anything for damaged ones
        return None
    if orientation in SIDEWAYS:
        height, width = width, height
    return DecodedImage(_upright(pixels, orientation), width, height)


def _scaled_size(height: int, width: int, min_side: int) -> tuple[int, int]:
    for scale in (8, 4, 2):
        rows, columns = -(-height // scale), -(-width // scale)
        if min(rows, columns) >= min_side:
            return rows, columns
    return height, width


def _exif_orientation(data: bytes) -> int:
    head = data[:65536]
    if b"Exif\x00\x00" not in head and b"tiff:Orientation" not in head:  # EXIF, or XMP alone
        return 1
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    return int(found) if found in range(1, 9) else 1  # of any type in a damaged file


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (2-8): mirrored in its plane, or turned by quarters, or both."""
    turned = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    upright = np.rot90(pixels, turned)
    if orientation in (2, 4, 5, 7):
        upright = {2: np.fliplr, 4: np.fliplr, 5: np.flipud, 7: np.flipud}[orientation](upright)
    return np.ascontiguousarray(upright)


def _decode_by_pillow(data: bytes, min_side: int) -> DecodedImage:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            _refuse_bomb(width, height)
            sideways = image.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS
            image.draft("RGB", (min_side, min_side))
            upright = ImageOps.exif_transpose(image)
            pixels = np.array(_rgb(upright), order="C")  # torch refuses Pillow's read-only arrays
    except UndecodableImage:
        raise
    except UnidentifiedImageError as error:
        reason = "damaged" if data.startswith(FIRST_BYTES) else "not-an-image"
        raise UndecodableImage(reason, f"unknown header, begins with {data[:8]!r}") from error
    except Image.DecompressionBombError as error:
        raise UndecodableImage("too-large", str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything for damaged bytes
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise UndecodableImage(reason, f"{type(error).__name__}: {error}") from error
    return DecodedImage(pixels, *((height, width) if sideways else (width, height)))


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit greys to 255 instead of scaling them.
        grey = np.nan_to_num(np.asarray(image).astype(np.float32))
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
