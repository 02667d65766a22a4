"""Squares of one size for the CNN."""

import numpy as np
import PIL
from PIL import Image

from pipeline.core.arrays import Pixels
from pipeline.images.fit import SQUASHED, Fit

TALL = 2**24  # pixels of an image that is made as narrow as its square and as tall as it was
RESIZER = f"pillow {PIL.__version__}, antialiased"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize_square(pixels: Pixels, size: int, fit: Fit = SQUASHED) -> Pixels:
    """Resize (h, w, 3) to (size, size, 3): the whole image squashed, or the middle of it.

    Shrinking widens the filter over all it covers, so fine texture does not alias. torch's resizer
    agrees but for rounding, and takes seconds to import (``sluice bench pixels``).
    """
    image, way = Image.fromarray(pixels), FILTERS[fit.interpolation]
    if fit.short_side:
        box = _middle(image.width, image.height, size, fit.short_side)
        return np.array(image.resize((size, size), way, box))
    if image.height * size > TALL:  # Pillow goes by width first, which would take gigabytes
        image = image.resize((image.width, size), way)
    resized: Pixels = np.array(image.resize((size, size), way))
    return resized


def _middle(
    width: int, height: int, size: int, short_side: int
) -> tuple[float, float, float, float]:
    """Return where the middle square of the image made smaller lies in it as it is.

    Sides and corners are whole pixels of the smaller one, as torchvision's Resize and CenterCrop
    round them; the filter sees beyond the box, so the square is the one that they would cut.
    """
    short = min(width, height)
    smaller = (int(short_side * width / short), int(short_side * height / short))
    corner = [round((side - size) / 2) for side in smaller]
    scale = (width / smaller[0], height / smaller[1])
    left, top = (c * s for c, s in zip(corner, scale, strict=True))
    right, bottom = ((c + size) * s for c, s in zip(corner, scale, strict=True))
    return left, top, min(right, width), min(bottom, height)
