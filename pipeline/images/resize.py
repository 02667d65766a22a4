"""Squares of one size for the CNN."""

from typing import Any

import numpy as np
import torch

RESIZER = f"torch {torch.__version__} squash: bilinear, antialiased"


def resize_square(pixels: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Resize uint8 (h, w, 3) to uint8 (size, size, 3), the whole image squashed into the square.

    Shrinking widens the bilinear filter over all it covers, as Pillow does, so fine texture does
    not alias. Of the resizers that agree with Pillow's, torch's fixed-point one is the fastest
    (``sluice bench pixels``).
    """
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    square = torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
    resized: np.ndarray[Any, Any] = square[0].permute(1, 2, 0).numpy()
    return resized
