"""Whether a file names the camera that took it."""

import io

import pytest
from PIL import Image

from pipeline.images.exif import names_camera


def _jpeg(make=None):
    out, exif = io.BytesIO(), Image.Exif()
    if make:
        exif[271] = make
    Image.new("RGB", (20, 10)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_a_photograph_does_and_a_saved_copy_does_not():
    assert names_camera(_jpeg("Pentax"))
    assert not names_camera(_jpeg())


@pytest.mark.parametrize("data", [b"", b"no image", _jpeg("Pentax")[:30]])
def test_what_is_damaged_names_none(data):
    assert not names_camera(data)
