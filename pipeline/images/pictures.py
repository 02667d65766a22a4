"""Small pictures of images, for pages."""

import base64
import io
from dataclasses import dataclass

from PIL import Image


def thumbnail(data: bytes, size: int = 200) -> bytes:
    """Return ``data`` as a small JPEG for a page. Raises UndecodableImage."""
    from pipeline.images.decode import decode_rgb

    image = Image.fromarray(decode_rgb(data, size).pixels)
    image.thumbnail((size, size))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it; ``jpeg`` is its thumbnail's bytes."""

    id: int
    key: str
    jpeg: bytes

    @property
    def uri(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()
