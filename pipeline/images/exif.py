"""What a file's head tells beside how to hold the picture."""

import io

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

MAKE, MODEL = 271, 272  # TIFF tags of the camera
LOSSLESS = ("PNG", "BMP", "PPM")


def names_camera(data: bytes) -> bool:
    """Return whether the file says which camera took it, as what was saved again seldom does."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            exif = image.getexif()
    except Exception:  # a file may be damaged in any way, and tells of no camera then
        return False
    return bool(exif.get(MAKE) or exif.get(MODEL))


def quantised(data: bytes) -> float | None:
    """Return the mean step in which a JPEG's brightness is quantised, 1 or more; 0 of what loses
    nothing, a PNG, BMP or PPM without a palette; None of other files, whose loss nothing tells.

    It is the smaller the higher the quality a file was saved at.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in LOSSLESS and image.mode != "P":
                return 0.0
            if not isinstance(image, JpegImageFile) or not image.quantization:
                return None
            steps = image.quantization[min(image.quantization)]
            return sum(steps) / len(steps)
    except Exception:  # as above
        return None
