import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from pipeline.images import resize
from pipeline.images.decode import decode_rgb
from pipeline.images.fit import Fit
from pipeline.images.resize import resize_square
from tests.helpers.images import jpeg_bytes


@pytest.mark.parametrize("size", [32, 224, 512])
def test_it_agrees_with_a_slow_antialiasing_resizer(photos, size):
    ours = resize_square(photos[0], size)
    slow = Image.fromarray(photos[0]).resize((size, size), Image.Resampling.BILINEAR)
    assert ours.shape == (size, size, 3)
    assert np.abs(ours.astype(int) - np.asarray(slow).astype(int)).max() <= 1


def test_fine_texture_becomes_grey_not_a_pattern():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = resize_square(stripes, 64)[:, 1:-1]  # the border sees one stripe more
    assert np.ptp(inner) <= 2


def test_a_very_tall_image_is_shrunk_before_it_is_widened(monkeypatch):
    tall = np.zeros((6000, 2, 3), np.uint8)
    tall[3000:] = 200
    whole = resize_square(tall, 32)
    monkeypatch.setattr(resize, "TALL", 6000 * 32 - 1)
    shrunk = resize_square(tall, 32)
    assert np.abs(shrunk.astype(int) - whole).max() <= 1
    assert (shrunk[0] == 0).all()
    assert (shrunk[-1] == 200).all()


@pytest.mark.parametrize("way", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "short_side"), [(224, 256), (96, 96), (33, 50)])
def test_the_middle_is_what_torchvision_would_cut(photos, way, size, short_side):
    theirs = v2.Compose([v2.Resize(short_side, way), v2.CenterCrop(size)])
    for photo in (photos[0], np.ascontiguousarray(photos[0].swapaxes(0, 1)), photos[2]):
        ours = resize_square(photo, size, Fit(short_side, way))
        wanted = np.asarray(theirs(Image.fromarray(photo)))
        assert np.abs(ours.astype(int) - wanted).max() <= 2


def square_error(photo, size, fit):
    """Return how far a square of the scaled decode is from that of the whole one, on average."""
    jpeg = jpeg_bytes(photo)
    scaled = decode_rgb(jpeg, fit.decoded(size)).pixels
    assert scaled.size < photo.size
    whole = resize_square(decode_rgb(jpeg, max(photo.shape)).pixels, size, fit)
    return np.abs(resize_square(scaled, size, fit).astype(int) - whole).mean()


def test_a_photo_is_decoded_so_large_that_the_resizer_not_the_decoder_makes_it_small(photos):
    for photo in photos:
        ours, smallest = (square_error(photo, 64, Fit(gap=gap)) for gap in (2, 1))
        assert ours < 0.75 * smallest


def test_the_middle_of_a_very_long_image_is_cut_at_its_own_scale():
    long = np.zeros((2, 20_000, 3), np.uint8)
    long[:, 10_000:] = 200
    square = resize_square(long, 32, Fit(40))
    assert (square[:, :4] == 0).all()
    assert (square[:, -4:] == 200).all()
