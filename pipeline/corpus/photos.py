"""The photographs a corpus is made from, each held at several scales."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage

from pipeline.core.arrays import Pixels
from pipeline.core.errors import InputError
from pipeline.core.files import checksum
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.formats import IMAGE_SUFFIXES

# The photographs, not the drawings, among what the scikit-image wheel holds; chelsea comes first.
WHEEL_PHOTOS = {
    "chelsea.png": "cat",
    "astronaut.png": "person",
    "coffee.png": "coffee",
    "rocket.jpg": "rocket",
    "motorcycle_left.png": "motorcycle",
    "camera.png": "person",
    "coins.png": "coins",
    "hubble_deep_field.jpg": "galaxies",
    "retina.jpg": "retina",
    "moon.png": "moon",
    "clock_motion.png": "clock",
    "ihc.png": "tissue",
    "brick.png": "brick",
    "gravel.png": "gravel",
    "grass.png": "grass",
}
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Photo:
    """One photograph: ``levels[i]`` is (h, w, 3) at 1/2**i of the full size."""

    name: str
    label: str
    checksum: str
    levels: tuple[Pixels, ...]

    @property
    def height(self) -> int:
        return int(self.levels[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.levels[0].shape[1])


def find_photos(folder: str | None) -> list[tuple[Path, str]]:
    """Return (path, label) of the photos in ``folder``, or of those in the scikit-image wheel.

    The label of a photo in a folder is its subfolder's name, or its own stem at the top. Raises
    InputError where there are none.
    """
    if folder is None:
        data = Path(skimage.__file__).parent / "data"
        return [(data / name, label) for name, label in WHEEL_PHOTOS.items()]
    root = Path(folder)
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise InputError(f"corpus.photos {folder} holds no images; name a folder of photographs")
    return [(path, path.parent.name if path.parent != root else path.stem) for path in paths]


def load_photos(found: list[tuple[Path, str]]) -> tuple[list[Photo], list[str]]:
    """Read the photos; return those usable, and a line for each that is not.

    Raises InputError where none is usable.
    """
    photos, refused = [], []
    for path, label in found:
        try:
            photos.append(_load(path, label))
        except (OSError, UndecodableImage) as error:
            refused.append(f"{path}: {error}")
    if not photos:
        raise InputError(f"none of {len(found)} photos can be used (first: {refused[0]})")
    return photos, refused


def _load(path: Path, label: str) -> Photo:
    data = path.read_bytes()
    levels = [decode_rgb(data, 1 << 30).pixels]
    if min(levels[0].shape[:2]) < SMALLEST_SIDE:
        raise UndecodableImage("too-small", f"a side is below {SMALLEST_SIDE} pixels")
    while min(levels[-1].shape[:2]) >= 2 * SMALLEST_SIDE:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, dtype=np.uint8))
    return Photo(path.name, label, checksum(data), tuple(levels))
