"""Things are cut out of pictures that show them before a plain background, and of no others."""

import cv2
import numpy as np

from pipeline.lab.look_alikes import before_one_background, cut_out, laid_before


def _before_white():
    picture = np.full((200, 160, 3), 240, np.uint8)
    cv2.rectangle(picture, (40, 60), (110, 150), (30, 80, 160), -1)
    return picture


def test_the_thing_before_a_plain_background_is_cut_out():
    mask = cut_out(_before_white())
    thing = np.zeros(mask.shape, np.bool_)
    thing[60:151, 40:111] = True
    assert (mask != thing).mean() < 0.02


def test_nothing_is_cut_out_of_any_other_picture():
    noise = np.random.default_rng(1).integers(0, 256, (200, 160, 3)).astype(np.uint8)
    assert cut_out(noise) is None
    assert cut_out(np.full((200, 160, 3), 240, np.uint8)) is None


def test_what_is_laid_before_a_background_hides_it_and_nothing_else():
    picture = _before_white()
    background = np.zeros((300, 400, 3), np.uint8)
    made = laid_before(background, picture, cut_out(picture), np.random.default_rng(2))
    shown = made.any(axis=2)
    assert 0.05 < shown.mean() < 0.9
    assert not shown[:, :20].any()
    assert background.max() == 0


def test_each_background_comes_with_several_things():
    backgrounds = [np.full((100, 100, 3), level, np.uint8) for level in (0, 90)]
    pictures = [_before_white(), _before_white()[::-1], np.zeros((80, 80, 3), np.uint8)]
    made = list(before_one_background(backgrounds, pictures, 5, np.random.default_rng(3)))
    assert [len(seen) for seen in made] == [2, 2]
