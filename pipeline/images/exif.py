"""What a file's head tells beside how to hold the picture."""

import io
from dataclasses import dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

MAKE, MODEL = 271, 272  # TIFF tags of the camera
LOSSLESS = ("PNG", "BMP", "PPM")


@dataclass(frozen=True)
class Head:
    """What is told of a file's making.

    camera: whether it says which camera took it, as what was saved again seldom does. quantised:
    the mean step in which a JPEG's brightness is quantised, 1 or more, the smaller the higher the
    quality it was saved at; 0 of what loses nothing, a PNG, BMP or PPM without a palette; None of
    other files, whose loss nothing tells.
    """

    camera: bool = False
    quantised: float | None = None


def read_head(data: bytes) -> Head:
    """Return what a file's head tells; nothing of a damaged one."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return Head(_names_camera(image), _quantised(image))
    except Exception:  # a file may be damaged in any way, and tells nothing then
        return Head()


def _names_camera(image: Image.Image) -> bool:
    try:
        exif = image.getexif()
        return bool(exif.get(MAKE) or exif.get(MODEL))
    except Exception:  # as above
        return False


def _quantised(image: Image.Image) -> float | None:
    if image.format in LOSSLESS and image.mode != "P":
        return 0.0
    if not isinstance(image, JpegImageFile) or not image.quantization:
        return None
    steps = image.quantization[min(image.quantization)]
    return sum(steps) / len(steps)
