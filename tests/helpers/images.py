"""Images in the formats that sources hold."""

import io
import tarfile

from PIL import Image


def jpeg_bytes(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **({"quality": 90} | options))
    return out.getvalue()


def write_tar(path, members):
    """Write the bytes in ``members`` (name: bytes) as a tar."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
