"""Pages are copies where the same is written on them, however they were scaled or saved since."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.dedup.keypoints import Keypoints, keypoints_of
from pipeline.dedup.look import in_pixels, look, shipped_weights
from pipeline.dedup.writing import WRITTEN, is_plain, page_jpeg, read_page, written_otherwise
from pipeline.images.decode import decode_rgb

cv2.setNumThreads(1)
WEIGHTS = shipped_weights()
LABELS = ("Name", "Account", "Invoice number", "Date of birth", "Amount due", "Reference") * 3
WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])


FIELDS = len(LABELS)


def _form(seed, other_fields=FIELDS, size=(827, 1169)):
    """A filled-in form; the first ``other_fields`` of it differ from seed to seed."""
    image = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(image)
    draw.text((60, 50), "APPLICATION FOR A PERMIT", (20, 20, 60), ImageFont.load_default(32))
    for row, label in enumerate(LABELS):
        y = 120 + 52 * row
        draw.text((60, y), f"{label}:", (0, 0, 0), ImageFont.load_default(19))
        draw.rectangle((280, y - 5, size[0] - 60, y + 28), outline=(120, 120, 120))
        digits = np.random.default_rng([seed if row < other_fields else 0, row]).integers(0, 10, 9)
        number = "".join(map(str, digits))
        draw.text((295, y), number, (0, 0, 120), ImageFont.load_default(19))
    return np.asarray(image)


def _jpeg(pixels, quality=80):
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _keypoints(pixels, quality=80):
    data = _jpeg(pixels, quality)
    return keypoints_of(data, decode_rgb(data, 128).pixels, 2**28)


def _scaled(pixels, factor):
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


FORM = _keypoints(_form(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: _scaled(p, 0.5),
        lambda p: np.rot90(p),
        lambda p: p[40:1000, 30:780],
        lambda p: (p * 0.6 + 40).astype(np.uint8),
    ],
)
def test_a_copy_of_a_page_says_what_the_page_says(change):
    assert look(FORM, _keypoints(change(_form(1)), 40), WEIGHTS)[1].copy > 0.9


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_forms_with_other_numbers_are_no_copies(factor):
    sures = [
        look(FORM, _keypoints(_scaled(_form(seed), factor)), WEIGHTS)[1].copy for seed in (2, 3, 4)
    ]
    assert sures == [0.0] * 3


def test_two_other_numbers_on_a_page_are_enough():
    one, other = (read_page(page_jpeg(_form(seed, 2))) for seed in (1, 2))
    assert written_otherwise(one, other, WHOLE)
    assert not written_otherwise(one, read_page(page_jpeg(_form(1, 2))), WHOLE)


def test_letters_too_small_to_be_read_are_not_taken_for_the_same():
    page = _form(1)
    small = read_page(page_jpeg(_scaled(page, 0.2)))
    one = read_page(page_jpeg(page))
    assert written_otherwise(one, small, in_pixels(WHOLE, one.grey, small.grey))


def test_where_nothing_is_written_nothing_differs():
    blank = np.full((400, 300, 3), 250, np.uint8)
    blank[100:200, 80:180] = (20, 90, 200)
    assert is_plain(blank)
    page = read_page(page_jpeg(blank))
    assert page.letters < WRITTEN
    assert not written_otherwise(page, None, WHOLE)
    assert written_otherwise(read_page(page_jpeg(_form(1))), None, WHOLE)


def test_a_picture_that_is_not_plain_keeps_no_page():
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 6) // 2 * 2
    ramp = np.clip(noise + np.linspace(-100, 100, 300)[None, :, None], 0, 255).astype(np.uint8)
    assert _keypoints(ramp).page is None
    assert isinstance(FORM, Keypoints)
    assert FORM.page.letters > WRITTEN
