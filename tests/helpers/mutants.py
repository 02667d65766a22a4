"""Image files of every format, and what damage makes of them."""

import io

from PIL import Image

# Pillow's format and what it is saved with.
FORMATS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"quality": 20, "restart_marker_rows": 1}),
    ("MPO", {"pages": 2}),
    ("PNG", {}),
    ("PNG", {"pages": 2}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"pages": 2}),
    ("GIF", {}),
    ("GIF", {"pages": 2}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate", "pages": 2}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "packbits"}),
    ("AVIF", {}),
    ("JPEG2000", {}),
    ("PPM", {}),
]
SUFFIX = {"JPEG": "jpg", "JPEG2000": "jp2"}
EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01")


def wholes(photos):
    """Every photo (uint8 (h, w, 3)) in every format: (suffix, bytes)."""
    for photo in photos:
        image = Image.fromarray(photo)
        for name, made in FORMATS:
            options = dict(made)
            pages = options.pop("pages", 1)
            if pages > 1:
                more = [image.rotate(90 * page) for page in range(1, pages)]
                options |= {"save_all": True, "append_images": more}
            out = io.BytesIO()
            image.save(out, name, **options)
            yield SUFFIX.get(name, name.lower()), out.getvalue()


def mutant(whole, other, random):
    """``whole`` with one to four damages: bits, bytes, lengths, holes, cuts, transplants."""
    data = bytearray(whole)
    for _ in range(random.integers(1, 5)):
        # Half of it near the beginning, where the headers are.
        end = len(data) if random.random() < 0.5 else min(len(data), 700)
        at, length = int(random.integers(end)), int(random.integers(1, 200))
        kind = random.integers(7)
        if kind == 0:
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[at] = int(random.integers(256))
        elif kind == 2:
            data[at : at + 4] = EXTREMES[random.integers(len(EXTREMES))]
        elif kind == 3:
            data[at : at + length] = bytes(length)
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif kind == 5:
            data[at : at + length] = other[at : at + length]
        elif random.random() < 0.3:
            del data[max(at, 20) :]
    return bytes(data)
