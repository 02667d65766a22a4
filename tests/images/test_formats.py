"""Which files are taken, and what opens them."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.images import formats
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.source import list_source

KINDS = {
    "jpe": "JPEG",
    "jfif": "JPEG",
    "dib": "DIB",
    "tif": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG2000",
    "ppm": "PPM",
    "apng": "PNG",
}


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def without_extras(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_file_of_any_format_is_taken_and_opened_by_its_content(suffix, photos, tmp_path):
    image = Image.fromarray(photos[0])
    data = encoded(image, KINDS[suffix])
    (tmp_path / f"photo.{suffix.upper()}").write_bytes(data)
    assert list_source(str(tmp_path)).files.num_rows == 1
    decoded = decode_rgb(data, 1 << 30)
    assert (decoded.width, decoded.height, decoded.pages) == (*image.size, 1)
    assert np.abs(decoded.pixels - photos[0].astype(float)).mean() < 6


@pytest.mark.parametrize(("extra", "kind"), [("heif", "HEIF"), ("jxl", "JXL")])
def test_an_extra_opens_its_format(extra, kind, photos):
    pytest.importorskip(formats.EXTRAS[extra][0])
    if extra == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(Image.fromarray(photos[0]), kind)
    assert np.abs(decode_rgb(data, 64).pixels - photos[0].astype(float)).mean() < 6
    assert decode_rgb(data, 64).pixels.flags.writeable


def test_what_waits_for_an_extra_is_left_out_and_named(photos, jpegs, tmp_path, monkeypatch):
    without_extras(monkeypatch)
    (tmp_path / "a.HEIC").write_bytes(b"one")
    (tmp_path / "b.jxl").write_bytes(b"other")
    with pytest.raises(InputError, match=r"only images that take .*sluice\[heif\].* and .*\[jxl\]"):
        list_source(str(tmp_path))
    (tmp_path / "c.jpg").write_bytes(jpegs[0])
    left_out = list_source(str(tmp_path)).left_out
    assert left_out == {
        ".heic suffix, which takes pip install 'sluice[heif]'": 1,
        ".jxl suffix, which takes pip install 'sluice[jxl]'": 1,
    }


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"\xff\x0a\x01", b"\0\0\0\x0cJXL \r\n"])
def test_by_another_suffix_it_is_told_what_opens_it(start, monkeypatch):
    without_extras(monkeypatch)
    with pytest.raises(UndecodableImage, match=r"no-decoder: .*pip install 'sluice\["):
        decode_rgb(start + bytes(99), 64)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_pages_of_a_file_are_counted_and_the_first_is_shown(kind, photos):
    first, other = (Image.fromarray(photo[:200, :200]) for photo in photos[:2])
    data = encoded(first, kind, save_all=True, append_images=[other, first])
    decoded = decode_rgb(data, 64)
    assert decoded.pages == 3
    assert np.abs(decoded.pixels - np.asarray(first).astype(float)).mean() < 16


def test_a_tiff_that_lies_on_its_side_has_its_upright_size(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(photos[0])
    decoded = decode_rgb(encoded(image, "TIFF", exif=exif), 64)
    assert (decoded.width, decoded.height) == image.size[::-1] == decoded.pixels.shape[1::-1]
    assert np.array_equal(decoded.pixels, np.rot90(photos[0], 3))


def test_a_jpeg2000_is_halved_as_far_as_it_goes(photos):
    image = Image.fromarray(photos[1])
    for levels, side in ((6, 128), (2, 256)):
        decoded = decode_rgb(encoded(image, "JPEG2000", num_resolutions=levels), 64)
        assert (decoded.width, decoded.height) == (512, 512)
        assert decoded.pixels.shape == (side, side, 3)
        seen = Image.fromarray(decoded.pixels).resize((32, 32), Image.Resampling.BOX)
        wanted = np.asarray(image.reduce(16)).astype(float)
        assert np.abs(np.asarray(seen) - wanted).mean() < 6
