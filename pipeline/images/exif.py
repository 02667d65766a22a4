"""What a file's EXIF tells beside how to hold the picture."""

import io

from PIL import Image

MAKE, MODEL = 271, 272  # TIFF tags of the camera


def names_camera(data: bytes) -> bool:
    """Return whether the file says which camera took it, as what was saved again seldom does."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            exif = image.getexif()
    except Exception:  # a file may be damaged in any way, and tells of no camera then
        return False
    return bool(exif.get(MAKE) or exif.get(MODEL))
