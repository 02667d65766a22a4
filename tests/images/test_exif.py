"""Whether a file names the camera that took it, and how finely it is quantised."""

import io

import pytest
from PIL import Image

from pipeline.images.exif import Head, read_head


def _jpeg(make=None):
    out, exif = io.BytesIO(), Image.Exif()
    if make:
        exif[271] = make
    Image.new("RGB", (20, 10)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_a_photograph_does_and_a_saved_copy_does_not():
    assert read_head(_jpeg("Pentax")).camera
    assert not read_head(_jpeg()).camera


@pytest.mark.parametrize("data", [b"", b"no image", _jpeg("Pentax")[:30]])
def test_what_is_damaged_names_none(data):
    assert not read_head(data).camera


def test_damaged_exif_hides_no_quantisation():
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, "JPEG", exif=b"Exif\0\0")  # of which Pillow's fails
    assert read_head(out.getvalue()) == Head(False, read_head(_jpeg("Pentax")).quantised)


def test_a_jpeg_of_higher_quality_is_quantised_more_finely_and_other_files_are_not():
    steps = []
    for quality in (95, 75, 30):
        out = io.BytesIO()
        Image.new("RGB", (20, 10)).save(out, "JPEG", quality=quality)
        steps.append(read_head(out.getvalue()).quantised)
    assert 1 <= steps[0] < steps[1] < steps[2]
    two, png, gif = io.BytesIO(), io.BytesIO(), io.BytesIO()
    one = Image.new("RGB", (20, 10))
    one.save(two, "MPO", save_all=True, append_images=[one], quality=75)  # as phones do
    assert read_head(two.getvalue()).quantised == steps[1]
    one.save(png, "PNG")
    assert read_head(png.getvalue()).quantised == 0
    one.save(gif, "GIF")
    assert read_head(gif.getvalue()).quantised is None
    assert read_head(b"no image").quantised is None
