"""The formats of images: by which suffix a file is taken, and what package opens it.

Only the choice of files goes by suffix; what a file is, its bytes say when it is decoded.
"""

import importlib.util

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc"),
        *(".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
# Formats that a package of ``pip install 'sluice[extra]'`` opens.
EXTRAS = {
    "heif": ("pillow_heif", frozenset({".heic", ".heif", ".hif"})),
    "jxl": ("pillow_jxl", frozenset({".jxl"})),
}
MAX_PIXELS = 89_478_485  # the size Pillow warns at: 256 MiB of RGB
IMAGE_SUFFIXES = SUFFIXES.union(*(suffixes for _, suffixes in EXTRAS.values()))


def is_there(extra: str) -> bool:
    """Return whether the package of one of EXTRAS is installed."""
    return importlib.util.find_spec(EXTRAS[extra][0]) is not None


def lacking(suffix: str) -> str | None:
    """Return the extra that files of ``suffix`` wait for, None where they can be opened."""
    for extra, (_, suffixes) in EXTRAS.items():
        if suffix in suffixes and not is_there(extra):
            return extra
    return None


def remedy(extra: str) -> str:
    """Return how to come by an extra."""
    return f"pip install 'sluice[{extra}]'"
