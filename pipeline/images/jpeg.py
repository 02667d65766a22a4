"""JPEGs by libjpeg-turbo, at the smallest scale that is asked for, and how much of one is whole."""

import io
import re
from typing import Any

import simplejpeg
from PIL import Image

from pipeline.core.arrays import Pixels
from pipeline.images.decoded import (
    SIDEWAYS,
    DecodedImage,
    UndecodableImage,
    refuse_large,
    refuse_shape,
    room_for,
    upright,
)

END = b"\xff\xd9"
FRAMES = (0xC0, 0xC1, 0xC2)  # markers of the frame header: baseline, extended, progressive
PROGRESSIVE, SCAN = b"\xff\xc2", b"\xff\xda"
ORIENTATION = 0x0112
BLOCKS = 16  # pixel rows of a row of blocks, or a multiple of it
PADDING = 3  # bytes that cameras leave at the end; after a flipped bit more are left
# Coefficients have so many zero bytes where nothing is to be seen, and then nothing is amiss.
HOLE = bytes(64)


def decode_jpeg(data: bytes, min_side: int, max_pixels: int) -> DecodedImage | None:
    """Decode by libjpeg-turbo; None for what it refuses, which Pillow then judges.

    Raises UndecodableImage.
    """
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        refuse_shape(width, height)
        if colorspace in ("CMYK", "YCCK"):
            return None
        orientation = _exif_orientation(data)
        rows, columns = _scaled_size(height, width, min_side)
        refuse_large(width, height, rows * columns, max_pixels)
        if width * height > max_pixels and _is_progressive(data):
            refuse_large(width, height, width * height, max_pixels)
        with room_for(rows * columns):
            pixels, decoded = _decode(data, rows, columns)
    except UndecodableImage:
        raise
    except Exception:  # Pillow reads the EXIF here, and raises nearly anything for damaged ones
        return None
    if orientation in SIDEWAYS:
        height, width = width, height
    return DecodedImage(upright(pixels, orientation), width, height, decoded=decoded)


def _decode(data: bytes, rows: int, columns: int) -> tuple[Pixels, float]:
    """Return pixels that cover ``rows`` and ``columns``, and the share that decoded.

    One that lacks its end mark alone is whole. Raises ValueError where libjpeg gives up.
    """
    size = {"colorspace": "RGB", "min_height": rows, "min_width": columns}
    try:
        return simplejpeg.decode_jpeg(data, **size, strict=True), 1.0
    except ValueError as error:
        cut = "Premature end of JPEG file" in str(error)
    closed = data + END if cut else data
    decoded = share_decoded(closed)
    if cut and decoded < 1:
        raise UndecodableImage("truncated", f"it ends after {decoded:.0%} of its rows")
    if not decoded:
        raise UndecodableImage("damaged", "none of its rows decodes")
    return simplejpeg.decode_jpeg(closed, **size, strict=False), decoded


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
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return orientation_of(image)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 where it is none."""
    found = image.getexif().get(ORIENTATION, 1)
    return int(found) if found in range(1, 9) else 1  # of any type in a damaged file


def _is_progressive(data: bytes) -> bool:
    """Return whether libjpeg holds all coefficients at once, whatever the scale."""
    return PROGRESSIVE in data[: data.find(SCAN)]


def share_decoded(data: bytes, colorspace: str = "GRAY") -> float:
    """Return the share of the rows of a JPEG before the first sign of damage; 1.0 of a whole one.

    libjpeg tells of the first thing wrong, and not where. A header that claims fewer rows stops it
    earlier, so halving their number finds the row; a hole of zeros is damage where it begins. Bits
    that were flipped often show only at the end of the data, or never: the share is the most that
    can be right. Of a progressive JPEG it is that of the first scan. Raises ValueError where
    libjpeg gives up.
    """
    warning = _first_warning(data, colorspace)
    if not _damaged(warning, 0):
        return 1.0
    frame, scan = _headers(data)
    hole = data.find(HOLE, scan)
    if hole < 0 and not _damaged(warning, PADDING):
        return 1.0
    if hole >= 0:
        data = data[:hole] + END
    height = int.from_bytes(data[frame + 5 : frame + 7], "big")
    most = (height - 1) // BLOCKS
    good = 0
    while good < most:
        middle = (good + most + 1) // 2
        fewer = data[: frame + 5] + (middle * BLOCKS).to_bytes(2, "big") + data[frame + 7 :]
        if _damaged(_first_warning(fewer, colorspace), len(data)):
            most = middle - 1
        else:
            good = middle
    return good * BLOCKS / height


def _first_warning(data: bytes, colorspace: str) -> str:
    """Return what libjpeg tells first, "" where it has nothing to tell."""
    smallest: dict[str, Any] = {"min_height": 1, "min_width": 1}
    try:
        simplejpeg.decode_jpeg(data, colorspace=colorspace, **smallest, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _damaged(warning: str, spare: int) -> bool:
    """Return whether a warning tells of lost data, not of an odd header or ``spare`` bytes more."""
    more = re.search(r"(\d+) extraneous bytes", warning)
    if more:
        return int(more[1]) > spare
    return "Corrupt JPEG data" in warning or "Premature end" in warning


def _headers(data: bytes) -> tuple[int, int]:
    """Return where the frame's header and the first scan's begin. Raises ValueError."""
    place, frame = 2, 0
    while place + 4 <= len(data):
        marker = data[place + 1]
        if marker == SCAN[1] and frame:
            return frame, place
        frame = place if marker in FRAMES else frame
        filler = data[place] != 0xFF or marker in (0x00, 0xFF)
        place += 1 if filler else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise ValueError("no scan")
