"""Images of other depths and with clear ground, as RGB of 8 bits."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.images.decode import decode_rgb
from pipeline.images.tones import scaled


def encoded(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def drawing(colour, box):
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    ImageDraw.Draw(image).rectangle(box, fill=colour)
    return image


def test_a_light_drawing_lies_on_black_and_any_other_on_white():
    for colour, ground in (("white", 0), ("#fffff0", 0), ("black", 255), ("#808080", 255)):
        pixels = decode_rgb(encoded(drawing(colour, (8, 8, 40, 40))), 64).pixels
        assert (pixels[0, 0] == ground).all(), colour
        assert np.ptp(pixels) > 100, colour


def test_light_drawings_of_other_shapes_are_other_pictures():
    one, other = (
        decode_rgb(encoded(drawing("white", box)), 64).pixels
        for box in ((8, 8, 40, 20), (30, 30, 60, 60))
    )
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_a_light_drawing_of_another_mode_lies_on_black_too(mode):
    image = drawing("white", (8, 8, 40, 40)).convert(mode)
    pixels = decode_rgb(encoded(image), 64).pixels
    assert (pixels[0, 0] == 0).all()
    assert (pixels[20, 20] == 255).all()


@pytest.mark.parametrize("brightest", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greys_of_any_depth_are_scaled_by_their_range(brightest, kind):
    ramp = np.linspace(0, brightest, 64 * 64).reshape(64, 64)
    image = Image.fromarray(ramp.astype(np.uint16))
    pixels = decode_rgb(encoded(image, kind), 64).pixels[..., 0].astype(int)
    assert np.abs(pixels - ramp * 255 / brightest).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 1.7), (0, 254.5), (0, 255)])
def test_fractions_are_scaled_by_their_range(low, high):
    ramp = np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = decode_rgb(encoded(Image.fromarray(ramp), "TIFF"), 64).pixels[..., 0]
    assert pixels.min() == 0
    assert pixels.max() >= 254


def test_a_dark_fraction_stays_dark_and_what_is_no_number_is_black():
    assert scaled(np.array([0.0, 0.25, np.nan, np.inf], np.float32)).tolist() == [0, 64, 0, 64]
    assert scaled(np.full(3, np.nan, np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "brightest"),
    [(".png", 4095), (".png", 65535), (".tiff", 4095), (".tiff", 65535), (".tiff", 1.0)],
)
def test_colours_of_any_depth_are_scaled_by_their_range(kind, brightest, photos):
    dtype = np.float32 if brightest == 1.0 else np.uint16
    deep = (photos[0] / 255 * brightest).astype(dtype)
    data = cv2.imencode(kind, deep[..., ::-1])[1].tobytes()
    decoded = decode_rgb(data, 1 << 30)
    assert (decoded.width, decoded.height) == photos[0].shape[1::-1]
    assert np.abs(decoded.pixels.astype(int) - photos[0]).max() <= 1
