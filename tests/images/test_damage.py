"""How much of a damaged image is told to be whole."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from pipeline.images.evidence import BLANK, IN_PART, doubts
from pipeline.images.squares import decode_squares
from tests.helpers.images import jpeg_bytes

END = b"\xff\xd9"


@pytest.fixture(scope="module", params=[{}, {"restart_marker_rows": 1}, {"optimize": True}])
def jpeg(request, photos):
    return jpeg_bytes(photos[1], **request.param)


def share(data):
    return decode_rgb(data, 64).decoded


def rows_alike(data, whole):
    """Return the share of the rows from the top that both decode alike."""
    one, other = (
        np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
        for file in (data, whole)
    )
    differ = np.flatnonzero((one != other).any(axis=(1, 2)))
    return differ[0] / len(one) if len(differ) else 1.0


def test_a_whole_jpeg_and_one_that_lacks_only_its_end_are_whole(jpeg):
    assert share(jpeg) == share(jpeg[:-2]) == share(jpeg + b"more of a camera's own") == 1
    assert np.array_equal(decode_rgb(jpeg[:-2], 64).pixels, decode_rgb(jpeg, 64).pixels)


def test_bytes_that_cameras_leave_before_the_end_are_no_damage(jpeg):
    assert share(jpeg[:-2] + b"\x7f" + END) == share(jpeg[:-2] + bytes(3) + END) == 1
    assert 0.9 < share(jpeg[:-2] + bytes(100) + END) < 1


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_cut_and_closed_jpeg_tells_the_rows_that_are_there(jpeg, place):
    cut = jpeg[: int(len(jpeg) * place)]
    assert 0 < share(cut + END) < 1
    assert share(cut + END) == pytest.approx(rows_alike(cut + END, jpeg), abs=32 / 512)
    with pytest.raises(UndecodableImage, match=f"truncated: it ends after {share(cut + END):.0%}"):
        decode_rgb(cut, 64)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_hole_of_zeros_ends_what_is_right(jpeg, place):
    start = int(len(jpeg) * place)
    holed = jpeg[:start] + bytes(len(jpeg) // 20) + jpeg[start + len(jpeg) // 20 :]
    assert 0 < share(holed) < 1
    assert share(holed) == pytest.approx(rows_alike(holed, jpeg), abs=32 / 512)


def test_flipped_bits_that_libjpeg_notices_leave_no_whole_image(photos):
    jpeg, told = bytearray(jpeg_bytes(photos[1])), []
    rng = np.random.default_rng(0)
    for place in rng.integers(len(jpeg) // 4, len(jpeg) - 2, 60):
        flipped = bytes(jpeg[:place]) + bytes([jpeg[place] ^ 8]) + bytes(jpeg[place + 1 :])
        try:
            told.append(share(flipped))
        except UndecodableImage:
            told.append(0)
    assert sum(share < 1 for share in told) >= 5
    assert max(told) <= 1


def test_a_damaged_progressive_or_cmyk_jpeg_is_told(photos):
    cmyk = io.BytesIO()
    Image.fromarray(photos[1]).convert("CMYK").save(cmyk, "JPEG")
    for whole in (jpeg_bytes(photos[1], progressive=True), cmyk.getvalue()):
        assert share(whole) == 1
        assert 0 < share(whole[: len(whole) // 2] + END) < 1


def test_a_png_whose_pixels_have_another_checksum_is_damaged(photos):
    out = io.BytesIO()
    Image.fromarray(photos[1]).save(out, "PNG")
    data = bytearray(out.getvalue())
    decode_rgb(bytes(data), 64)
    data[len(data) - 20] ^= 1
    with pytest.raises(UndecodableImage, match="damaged"):
        decode_rgb(bytes(data), 64)


def test_what_is_no_evidence_says_why(photos):
    whole = jpeg_bytes(photos[1])
    grey = jpeg_bytes(np.full((64, 64, 3), 90, np.uint8))
    data = [whole, whole[: len(whole) // 2] + END, grey]
    images = pa.table({"id": range(3), "key": list("abc"), "bytes": pa.array(data, pa.binary())})
    facts = decode_squares(images, 32).facts
    assert facts["contrast"][0].as_py() > 200
    assert doubts(facts).to_pylist() == [None, IN_PART, BLANK]
    assert doubts(facts.select(["width"])).to_pylist() == [None] * 3
