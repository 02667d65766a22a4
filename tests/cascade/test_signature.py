import numpy as np
import pytest

from pipeline.cascade.signature import LENGTH, PARTS, SIDE, part_slice, signature


@pytest.fixture
def square():
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def sign(square, width=400, height=300, size=20_000):
    return signature(square, width, height, size)


def test_compact_and_repeatable(square):
    assert LENGTH <= 300
    assert sign(square).shape == (LENGTH,)
    assert sign(square).dtype == np.uint8
    assert np.array_equal(sign(square), sign(square.copy()))


def test_header_changes_only_the_shape_part(square):
    changed = np.flatnonzero(sign(square) != sign(square, 300, 400, 90_000))
    assert len(changed)
    assert changed.max() < PARTS["shape"]


def test_colours_tell_red_from_blue_but_edges_do_not():
    red, blue = (np.zeros((SIDE, SIDE, 3), np.uint8) for _ in range(2))
    red[..., 0] = blue[..., 2] = 200
    assert not np.array_equal(sign(red)[part_slice("rgb")], sign(blue)[part_slice("rgb")])
    assert not np.array_equal(sign(red)[part_slice("hsv")], sign(blue)[part_slice("hsv")])
    edges = part_slice("edge")
    assert not sign(red)[edges].any()
    assert not sign(blue)[edges].any()


def test_orientation_tells_upright_stripes_from_lying_ones():
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:, ::8] = 255
    lying = np.ascontiguousarray(stripes.transpose(1, 0, 2))
    edges = part_slice("edge")
    difference = sign(stripes)[edges].astype(int) - sign(lying)[edges].astype(int)
    assert np.abs(difference).max() > 100


def test_histogram_ignores_place_and_thumbnail_does_not(square):
    square[:32] = 10
    upside = np.ascontiguousarray(square[::-1])
    assert np.array_equal(sign(square)[part_slice("rgb")], sign(upside)[part_slice("rgb")])
    thumbnail = part_slice("thumbnail")
    assert not np.array_equal(sign(square)[thumbnail], sign(upside)[thumbnail])


def test_parts_cover_all_columns_once():
    columns = [i for name in PARTS for i in range(*part_slice(name).indices(LENGTH))]
    assert columns == list(range(LENGTH))
    with pytest.raises(KeyError):
        part_slice("smell")


def test_another_size_is_refused(square):
    with pytest.raises(ValueError, match="want uint8"):
        signature(square[:32], 400, 300, 20_000)
