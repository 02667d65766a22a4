"""Squares of one size for the CNN."""

import torch

from pipeline.core.arrays import Pixels

RESIZER = f"torch {torch.__version__} squash: bilinear, antialiased"


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """Resize (h, w, 3) to (size, size, 3), the whole image squashed into the square.

    Shrinking widens the bilinear filter over all it covers, as Pillow does, so fine texture does
    not alias. Of the resizers that agree with Pillow's, torch's fixed-point one is the fastest
    (``sluice bench pixels``).
    """
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    square = torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
    resized: Pixels = square[0].permute(1, 2, 0).numpy()
    return resized
