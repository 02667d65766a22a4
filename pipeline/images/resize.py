"""Squares of one size for the CNN."""

import numpy as np
import PIL
from PIL import Image

from pipeline.core.arrays import Pixels

TALL = 2**24  # pixels of an image that is made as narrow as its square and as tall as it was
RESIZER = f"pillow {PIL.__version__} squash: bilinear, antialiased"


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """Resize (h, w, 3) to (size, size, 3), the whole image squashed into the square.

    Shrinking widens the bilinear filter over all it covers, so fine texture does not alias. torch's
    resizer agrees but for rounding, and takes seconds to import (``sluice bench pixels``).
    """
    image = Image.fromarray(pixels)
    if image.height * size > TALL:  # Pillow goes by width first, which would take gigabytes
        image = image.resize((image.width, size), Image.Resampling.BILINEAR)
    resized: Pixels = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    return resized
