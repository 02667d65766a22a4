"""Images too large or too long to be decoded as they are."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from pipeline.images import by_pillow, decoded
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import AT_ONCE, UndecodableImage, room_for
from pipeline.images.squares import decode_squares
from tests.helpers.images import jpeg_bytes
from tests.images.test_odd_images import png, table


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_what_can_be_decoded_smaller_may_have_more_pixels(photos):
    image = Image.fromarray(photos[1])
    for data in (jpeg_bytes(photos[1]), encoded(image, "JPEG2000")):
        assert decode_rgb(data, 64, max_pixels=128 * 128).width == 512
    for data in (encoded(image, "PNG"), jpeg_bytes(photos[1], progressive=True)):
        assert decode_rgb(data, 64, max_pixels=512 * 512).width == 512
        with pytest.raises(UndecodableImage, match=r"too-large: .*source\.max_pixels"):
            decode_rgb(data, 64, max_pixels=512 * 512 - 1)


def test_an_extreme_shape_is_refused_by_name():
    squares = decode_squares(table([png(20_001, 2, 8, 0, bytes(40_004))]), 32)
    assert squares.quarantine["reason"].to_pylist() == ["extreme-shape"]
    assert decode_squares(table([png(20_000, 2, 8, 0, bytes(40_004))]), 32).rows == [0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F"])
def test_a_large_image_is_halved_as_it_is_read(mode, photos, monkeypatch):
    monkeypatch.setattr(by_pillow, "LARGE", 512 * 512)
    image = Image.fromarray(photos[1])
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(image.convert("L")).astype(np.float32)
        image = Image.fromarray(grey if mode == "F" else grey.astype(np.uint16) * 257)
        image = image.convert("I") if mode == "I" else image
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF" if mode in ("I", "F") else "PNG")
    large = decode_rgb(data, 100)
    assert large.pixels.shape == (128, 128, 3)
    monkeypatch.setattr(by_pillow, "LARGE", 1 << 30)
    whole = np.asarray(Image.fromarray(decode_rgb(data, 100).pixels).reduce(4))
    assert np.abs(large.pixels.astype(int) - whole).max() <= 2


def test_threads_wait_for_room_for_large_images():
    within, most = [], []

    def decode(pixels):
        with room_for(pixels):
            within.append(pixels)
            most.append(sum(within))
            within.remove(pixels)

    sizes = [AT_ONCE // 2, AT_ONCE // 3, 2 * AT_ONCE] * 4
    threads = [threading.Thread(target=decode, args=(size,)) for size in sizes]
    with room_for(AT_ONCE // 4):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == len(sizes)
    assert max(most) == 2 * AT_ONCE
    assert decoded._taken == [0]
