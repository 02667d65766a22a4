"""Image bytes to RGB pixels, at the smallest scale that still covers what is asked for."""

import PIL
import simplejpeg

from pipeline.images.by_pillow import decode_by_pillow
from pipeline.images.decoded import DecodedImage, UndecodableImage
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.jpeg import decode_jpeg

DECODER = (
    f"simplejpeg {simplejpeg.__version__} DCT-scaled by 2, else pillow {PIL.__version__}, large "
    "ones scaled by 2; clear on white, light drawings on black; greys by their range"
)


def decode_rgb(data: bytes, min_side: int, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode the first page of ``data`` upright (EXIF orientation applied).

    JPEGs are decoded at the smallest scale of 1, 1/2, 1/4 and 1/8 whose sides are both >=
    ``min_side``; libjpeg's scales between are not vectorised and cost more than they save. JPEG
    2000 is halved to twice that, and other large images once they are read. Clear pixels are laid
    on white, or on black where all else is light; numbers of more than 8 bits are scaled by their
    range. A damaged JPEG gives what decodes of it and tells the share. Raises
    UndecodableImage("empty" | "not-an-image" | "no-decoder" | "truncated" | "damaged" |
    "extreme-shape" | "too-large"), the last where more than ``max_pixels`` must be decoded.
    """
    if not data:
        raise UndecodableImage("empty", "0 bytes")
    if data[:2] == b"\xff\xd8":
        fast = decode_jpeg(data, min_side, max_pixels)
        if fast is not None:
            return fast
    return decode_by_pillow(data, min_side, max_pixels)
