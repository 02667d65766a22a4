"""Images in the formats that sources hold."""

import io

from PIL import Image


def jpeg_bytes(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **({"quality": 90} | options))
    return out.getvalue()
