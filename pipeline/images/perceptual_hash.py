"""A picture's rough shape in 64 bits, the same for its recompressed, resized and recoloured copies.

The signs of its lowest frequencies, as in pHash (Zauner, Implementation and Benchmarking of
Perceptual Image Hash Functions, 2010): turned by quarters or mirrored, the picture has the same
frequencies with other signs, so its eight hashes follow from one.
"""

import numpy as np
from PIL import Image

from pipeline.core.arrays import AnyArray, Ids, Mask, Pixels

SIDE, KEPT = 32, 8  # of the grey square, and frequencies each way
ORIENTATIONS = 8
_WAVES = np.cos(np.pi * np.arange(KEPT)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE))


def perceptual_hash(square: Pixels) -> int:
    """Return 64 bits as int64; the bit of the mean brightness is never set. square: (s, s, 3)."""
    grey = Image.fromarray(square).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    frequencies = _WAVES @ np.asarray(grey, np.float64) @ _WAVES.T
    signs = frequencies > 0
    signs[0, 0] = False
    return int(_packed(signs.reshape(1, -1))[0])


def oriented(hashes: Ids) -> Ids:
    """Return the hashes int64 (8, n) of pictures turned and mirrored, from ``hashes`` int64 (n,).

    Number 4 t + 2 x + y: mirrored left for right where x, upside down where y, then, where t, rows
    for columns.
    """
    bits = np.unpackbits(as_bytes(hashes), axis=1)
    signs = bits.reshape(-1, KEPT, KEPT).astype(np.bool_)
    odd = np.arange(KEPT) % 2 == 1
    found = []
    for number in range(ORIENTATIONS):
        turned = signs.copy()
        if number & 2:
            turned ^= odd[None, None, :]
        if number & 1:
            turned ^= odd[None, :, None]
        turned[:, 0, 0] = False
        turned = turned.transpose(0, 2, 1) if number & 4 else turned
        found.append(_packed(turned.reshape(-1, KEPT * KEPT)))
    return np.stack(found)


def distances(one: Ids, other: Ids) -> Ids:
    """Return the bits in which two hashes differ, int64 of their common shape."""
    differing: Ids = np.bitwise_count(np.bitwise_xor(one, other).view(np.uint64)).astype(np.int64)
    return differing


def as_bytes(hashes: Ids) -> AnyArray:
    """Return uint8 (n, 8), as FAISS takes binary vectors."""
    return hashes.astype("<i8").view(np.uint8).reshape(-1, 8)


def _packed(signs: Mask) -> Ids:
    packed = np.packbits(signs, axis=1).view("<i8").reshape(-1)
    return packed.astype(np.int64)
