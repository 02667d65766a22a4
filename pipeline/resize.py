"""Squares of one size for the CNN."""

from typing import Any

import cv2
import numpy as np

RESIZER = f"opencv {cv2.__version__} squash: area down, linear up"


def resize_square(pixels: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Resize uint8 (h, w, 3) to uint8 (size, size, 3), the whole image squashed into the square.

    Shrinking averages areas, so fine texture does not alias; enlarging is bilinear.
    """
    height, width = pixels.shape[:2]
    shrinking = min(height, width) >= size
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), dtype=np.uint8)
