"""What one change of all colours does not explain is another thing, bands and stickers aside."""

import cv2
import numpy as np
import pytest

from pipeline.dedup import another_thing as other_things
from pipeline.dedup.another_thing import another_thing, colours

AS_IT_IS = np.array([[1.0, 0, 0], [0, 1, 0]])
RNG = np.random.default_rng(4)
SCENE = cv2.GaussianBlur(RNG.uniform(0, 255, (96, 128, 3)).astype(np.float32), (0, 0), 6)
SCENE = np.clip((SCENE - SCENE.mean()) * 9 + 128, 20, 235).astype(np.uint8)
CLOTH = cv2.GaussianBlur(RNG.uniform(0, 255, (96, 128, 3)).astype(np.float32), (0, 0), 3)
CLOTH = np.clip((CLOTH - CLOTH.mean()) * 6 + (40, 90, 200), 0, 255).astype(np.uint8)
Y, X = np.mgrid[:96, :128]


def _share(changed, affine=AS_IT_IS):
    return another_thing(colours(SCENE), colours(changed.astype(np.uint8)), affine)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: 255 * (p / 255.0) ** 1.7,
        lambda p: p * 0.5 + 60,
        lambda p: p.mean(axis=2, keepdims=True).repeat(3, axis=2),
        lambda p: p * (0.7, 0.9, 1.0),
        lambda p: p * (1 - ((X - 64) ** 2 + (Y - 48) ** 2) / 12000)[..., None],
    ],
)
def test_another_light_or_tint_is_no_other_thing(change):
    assert _share(change(SCENE)) < 0.02


def test_the_area_of_another_thing_is_told():
    other = SCENE.copy()
    other[28:68, 40:88] = CLOTH[28:68, 40:88]
    assert _share(other) == pytest.approx(40 * 48 / (96 * 128), abs=0.06)


def test_a_caption_and_a_sticker_are_left_out():
    caption, sticker = SCENE.copy(), SCENE.copy()
    caption[70:90] = 255
    cv2.circle(sticker, (64, 40), 16, (250, 240, 10), -1)
    assert _share(caption) < 0.01
    assert _share(sticker) < 0.01


def test_things_of_one_colour_in_both_pictures_are_no_stickers():
    one, other = SCENE.copy(), SCENE.copy()
    cv2.circle(one, (44, 40), 16, (250, 240, 10), -1)
    cv2.circle(other, (92, 56), 16, (10, 20, 250), -1)
    assert another_thing(colours(one), colours(other), AS_IT_IS) > 0.05


def test_pictures_that_have_too_little_in_common_are_of_other_things():
    assert _share(SCENE, np.array([[1.0, 0, 126], [0, 1, 0]])) == 1.0


def test_no_map_is_fitted_where_the_colours_are_the_same(monkeypatch):
    fitted, fit = [], other_things._left
    monkeypatch.setattr(other_things, "_left", lambda *asked: fitted.append(1) or fit(*asked))
    assert _share(SCENE + 9) == 0
    assert not fitted
    assert _share(SCENE[:, ::-1]) > 0.1
    assert fitted
