"""The first page of any image that Pillow opens, large ones at the scale that is asked for."""

import io
import zlib
from functools import cache

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

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
from pipeline.images.formats import EXTRAS, is_there, remedy
from pipeline.images.jpeg import orientation_of, share_decoded
from pipeline.images.tones import deep_rgb, is_cut_off, rgb

LARGE = 2**24  # pixels from which an image is halved as often as what is asked for allows
# What Pillow may open: of the rest, EPS would be handed to Ghostscript to run.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000
JXL_FIRST_BYTES = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
TIFF = (b"II*\x00", b"MM\x00*")
# What begins so but opens as no image is a damaged one.
FIRST_BYTES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", *TIFF),
    *(CODESTREAM, b"\0\0\0\x0cjP  ", *JXL_FIRST_BYTES),
)
# Sizes are judged by what is asked for, which may be more than Pillow's own limit.
Image.MAX_IMAGE_PIXELS = None


def decode_by_pillow(data: bytes, min_side: int, max_pixels: int) -> DecodedImage:
    """Decode the first page of ``data`` upright. Raises UndecodableImage."""
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
            width, height = image.size
            refuse_shape(width, height)
            pixels = _draft(image, data, min_side)
            refuse_large(width, height, pixels, max_pixels)
            decoded, pages = _share_decoded(image.format, data), _pages(image)
            with room_for(pixels):
                shown, orientation = _shown(image, data, min_side)
    except UndecodableImage:
        raise
    except UnidentifiedImageError as error:
        deep = _fractions(data) if data.startswith(TIFF) else None
        if deep is not None:
            return DecodedImage(deep, deep.shape[1], deep.shape[0])
        known = data.startswith(FIRST_BYTES) or _is_heif(data)
        reason = "damaged" if known else "not-an-image"
        raise UndecodableImage(reason, f"unknown header, begins with {data[:8]!r}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything for damaged bytes
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise UndecodableImage(reason, f"{type(error).__name__}: {error}") from error
    size = (height, width) if orientation in SIDEWAYS else (width, height)
    return DecodedImage(_writeable(shown), *size, pages, decoded)


def _shown(image: Image.Image, data: bytes, min_side: int) -> tuple[Pixels, int]:
    """Return upright pixels, and the orientation that its size has still to take."""
    as_stored = orientation_of(image)
    image.load()  # which turns a TIFF upright already
    orientation = _orientation(image)
    deep = None
    if image.width * image.height < LARGE and is_cut_off(image, data):
        deep = deep_rgb(data)
    if deep is not None:
        return upright(deep, as_stored), orientation
    return upright(rgb(_halved(image, min_side)), orientation), orientation


def _fractions(data: bytes) -> Pixels | None:
    """Return the RGB of a TIFF with fractions of colours, which Pillow does not open."""
    import tifffile

    try:
        page = tifffile.TiffFile(io.BytesIO(data)).pages.first
        small = page.imagewidth * page.imagelength < LARGE
    except Exception:  # damaged: it raises nearly anything
        return None
    return deep_rgb(data) if small else None


def _formats(data: bytes) -> tuple[str, ...]:
    """Return what Pillow may open ``data`` as. Raises UndecodableImage where an extra lacks."""
    if _is_heif(data):
        return (_opened_by("heif", "HEIF"),)
    if data.startswith(JXL_FIRST_BYTES):
        return (_opened_by("jxl", "JXL"),)
    return FORMATS


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"avif" not in data[8:64]


def _opened_by(extra: str, name: str) -> str:
    if not is_there(extra):
        detail = f"{name} takes {remedy(extra)} on every node; then choose another output folder"
        raise UndecodableImage("no-decoder", detail)
    _register(extra)
    return name


@cache
def _register(extra: str) -> None:
    if extra == "heif":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    else:
        __import__(EXTRAS[extra][0])  # registers itself


def _share_decoded(kind: str | None, data: bytes) -> float:
    """Return the share of rows that are right, where Pillow would not tell."""
    if kind in ("JPEG", "MPO"):
        colorspace = simplejpeg.decode_jpeg_header(data)[2]
        return share_decoded(data, "CMYK" if colorspace in ("CMYK", "YCCK") else "GRAY")
    if kind == "PNG":
        _check_png(data)
    return 1.0


def _check_png(data: bytes) -> None:
    """Raise UndecodableImage where the pixels of a PNG have another checksum than theirs."""
    place = 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        told, pixels = data[end : end + 4], data[place + 4 : place + 8] == b"IDAT"
        if pixels and len(told) == 4 and _crc(data, place + 4, end) != told:
            raise UndecodableImage("damaged", "the checksum of its pixels is another")
        place = end + 4


def _crc(data: bytes, start: int, end: int) -> bytes:
    return zlib.crc32(memoryview(data)[start:end]).to_bytes(4, "big")


def _draft(image: Image.Image, data: bytes, min_side: int) -> int:
    """Have a file decoded at the smallest scale that covers ``min_side``; return its pixels."""
    width, height = image.size
    if image.format == "JPEG2000":
        # Its smaller pictures lie up to half a pixel aside: twice the side makes that a quarter.
        halvings = min(_halvings(image, 2 * min_side), _resolutions(data))
        image.reduce = halvings  # type: ignore[method-assign, assignment]  # load() reads it
        return (width * height) >> (2 * halvings)
    image.draft("RGB", (min_side, min_side))
    return image.width * image.height


def _resolutions(data: bytes) -> int:
    """Return how often a JPEG 2000 can be halved, which its coding style (COD) tells."""
    start = data.find(CODESTREAM)
    style = data.find(b"\xff\x52", start)
    return min(data[style + 9], 32) if 0 <= start < style < len(data) - 9 else 0


def _halvings(image: Image.Image, min_side: int) -> int:
    return max(0, (min(image.size) // max(1, min_side)).bit_length() - 1)


def _pages(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # the first page is judged when it is decoded, the others do not matter
        return 1


def _orientation(image: Image.Image) -> int:
    """Return what is still to be undone: JPEG XL tells it twice, and is upright already."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1
    return orientation_of(image)


def _halved(image: Image.Image, min_side: int) -> Image.Image:
    """Return a large image by means of 2, 4, ... pixels a side, any other as it is."""
    halvings = _halvings(image, min_side) if image.width * image.height >= LARGE else 0
    if not halvings:
        return image
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    elif image.mode in ("P", "PA", "1") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return Image.Image.reduce(image, 2**halvings)


def _writeable(pixels: Pixels) -> Pixels:
    return pixels if pixels.flags.writeable else np.array(pixels, order="C")  # as torch asks
