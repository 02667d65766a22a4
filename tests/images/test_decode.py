import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.formats import MAX_PIXELS
from tests.helpers.images import jpeg_bytes


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def cat(photos):
    return Image.fromarray(photos[0])


def reason(data):
    with pytest.raises(UndecodableImage) as caught:
        decode_rgb(data, 64)
    return caught.value.reason


def close(pixels, image, tolerance):
    difference = np.abs(pixels.astype(int) - np.asarray(image.convert("RGB")).astype(int))
    return difference.mean() < tolerance


def test_plain_jpeg_is_scaled_and_keeps_its_size(cat):
    image = decode_rgb(encoded(cat, "JPEG", quality=95), 100)
    assert (image.width, image.height) == cat.size
    height, width = image.pixels.shape[:2]
    assert 100 <= height < 300
    assert close(image.pixels, cat.resize((width, height), Image.Resampling.LANCZOS), 7)


def test_a_small_jpeg_is_not_enlarged(cat):
    assert decode_rgb(encoded(cat, "JPEG"), 4000).pixels.shape == (300, 451, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(cat, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(cat, "JPEG", exif=exif)
    image = decode_rgb(data, 4000)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (image.width, image.height) == upright.size
    assert close(image.pixels, upright, 2)


def test_an_orientation_in_xmp_alone_is_applied(cat):
    xmp = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    image = decode_rgb(encoded(cat, "JPEG", xmp=xmp), 4000)
    assert (image.width, image.height) == cat.size[::-1]
    assert close(image.pixels, cat.transpose(Image.Transpose.ROTATE_270), 6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_other_formats(cat, kind):
    assert close(decode_rgb(encoded(cat, kind), 64).pixels, cat, 6)


def test_cmyk_jpeg(cat):
    data = encoded(cat.convert("CMYK"), "JPEG")
    assert close(decode_rgb(data, 4000).pixels, cat, 6)


def test_palette_and_animation_give_the_first_frame(cat):
    frames = [cat.convert("P"), ImageOps.invert(cat).convert("P")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert close(decode_rgb(data, 64).pixels, frames[0], 6)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    pixels = decode_rgb(encoded(Image.fromarray(ramp), "PNG"), 64).pixels
    assert np.abs(pixels[..., 0].astype(int) - ramp // 257).max() <= 1


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (decode_rgb(encoded(clear, "PNG"), 8).pixels == 255).all()


def test_one_pixel():
    assert decode_rgb(jpeg_bytes(np.full((1, 1, 3), 200, np.uint8)), 224).pixels.shape == (1, 1, 3)


def test_nothing_text_and_truncated_have_their_reason(jpegs):
    assert reason(b"") == "empty"
    assert reason(b"this is no image, whatever its name says") == "not-an-image"
    assert reason(jpegs[0][: len(jpegs[0]) // 2]) == "truncated"
    assert reason(b"\xff\xd8" + bytes(500)) in {"damaged", "not-an-image"}


def bomb_png(side):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


def test_a_bomb_is_refused_by_its_header(jpegs):
    assert MAX_PIXELS < 30_000**2
    assert reason(bomb_png(30_000)) == "too-large"
    data = bytearray(jpegs[0])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    assert reason(bytes(data)) == "damaged"  # decoded at 1/8 it is none, and holds nothing


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_gives_pixels_or_a_reason(jpegs, data):
    image = bytearray(jpegs[data.draw(st.integers(0, len(jpegs) - 1))])
    for _ in range(data.draw(st.integers(1, 12))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(image)))
    try:
        pixels = decode_rgb(bytes(image[:end]), 64).pixels
    except UndecodableImage:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
