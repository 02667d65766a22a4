"""Pixels of any mode as RGB of 8 bits: clear ones on a ground, others scaled by their range."""

import numpy as np
from PIL import Image

from pipeline.core.arrays import AnyArray, Pixels

# What the brightest pixel may be in images of 8, 10, 12, 14 and 16 bits.
BRIGHTEST = (255, 1023, 4095, 16383, 65535)
LIGHT = 240  # of 255: what a white ground would swallow
NEARLY_ALL = 0.95
DARK = 64  # of 255: what 14 bits in 16 reach at most


def rgb(image: Image.Image) -> Pixels:
    """Return an image's pixels as RGB uint8 (h, w, 3)."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(scaled(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        return on_ground(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def scaled(values: AnyArray) -> Pixels:
    """Return numbers of any range as uint8 of the same shape; what is no number is black.

    Integers are taken for the fewest bits of BRIGHTEST that hold them; fractions up to 1 for shares
    of white, up to 16 for their own range, and beyond as integers. Negative ones move all up.
    """
    values = values.astype(np.float32)
    known = values[np.isfinite(values)]
    low, high = (float(min(0, known.min())), float(known.max())) if known.size else (0.0, 0.0)
    span = high - low
    fractions = bool((known % 1).any()) or span <= 1
    if fractions and span <= 16:
        white = max(span, 1.0)
    else:
        white = next((most for most in BRIGHTEST if span <= most), span)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    shades: Pixels = (np.clip((values - low) * (255 / white), 0, 255) + 0.5).astype(np.uint8)
    return shades


def is_cut_off(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow's colours of a PNG or TIFF lack bits that ``data`` has."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    depth = data[24] if image.format == "PNG" else 8
    if image.format == "TIFF":
        depth = max(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
    brightest = max(high for _, high in image.getextrema()[:3])  # type: ignore[misc]
    return depth > 8 and brightest < DARK


def deep_rgb(data: bytes) -> Pixels | None:
    """Return the RGB of a PNG or TIFF whose colours have more than 8 bits, None of any other.

    Pillow keeps their upper 8 bits, which are 0 where 12 bits stand in 16, and opens no fractions.
    What is clear is shown.
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype == np.uint8 or image.ndim != 3 or image.shape[2] < 3:
        return None
    return scaled(image[..., 2::-1])


def on_ground(rgba: Image.Image) -> Pixels:
    """Lay an RGBA image on white, or on black where nearly all that is seen of it is light."""
    alpha = np.asarray(rgba.getchannel("A"))
    light = np.asarray(rgba.convert("RGB").convert("L")) >= LIGHT
    seen, seen_light = alpha.sum(dtype=np.int64), alpha[light].sum(dtype=np.int64)
    shade = 0 if seen and seen_light >= NEARLY_ALL * seen else 255
    ground = Image.new("RGBA", rgba.size, (shade, shade, shade, 255))
    return np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))
