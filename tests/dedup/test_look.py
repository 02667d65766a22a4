"""A second look: copies under many changes are found, other pictures are not, and why is told."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from pipeline.corpus.changes import CHANGES, changed
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.dedup import look as look_module
from pipeline.dedup.alignment import align
from pipeline.dedup.difference import difference
from pipeline.dedup.keypoint_shard import Seen
from pipeline.dedup.keypoints import Keypoints, find_keypoints, mirrored
from pipeline.dedup.look import (
    HOPELESS,
    TELLING,
    in_shares,
    log_odds,
    look,
    over_all,
    shipped_weights,
    sights,
    told,
    whole,
)
from pipeline.dedup.look_shard import ALIKE, told_look
from pipeline.dedup.overlay import NOTHING
from pipeline.lab.look_alikes import laid_before

cv2.setNumThreads(1)
SIDE = 320
WEIGHTS = shipped_weights()
HARD = {"caption": 0.6, "collage": 0.6, "screenshot": 0.6}


def _scaled(pixels):
    factor = SIDE / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


PICTURES = [
    _scaled(photo.levels[0])
    for photo in load_photos(find_photos(None))[0]
    if photo.name.split(".")[0] in ("chelsea", "astronaut", "coffee", "rocket", "motorcycle_left")
]
KEYPOINTS = [find_keypoints(picture) for picture in PICTURES]


def _looked(number, copy):
    return look(KEYPOINTS[number], find_keypoints(np.ascontiguousarray(copy)), WEIGHTS)


@pytest.mark.parametrize("name", CHANGES)
def test_copies_are_seen_to_be_copies(name):
    sures = []
    for number, picture in enumerate(PICTURES):
        rng = np.random.default_rng(number)
        others = [PICTURES[(number + step) % len(PICTURES)] for step in (1, 2, 3)]
        sures.append(_looked(number, changed(picture, name, rng, others))[1].copy)
    assert np.mean(np.array(sures) > 0.5) >= HARD.get(name, 0.8)


def test_other_pictures_are_not():
    sures = [
        look(one, other, WEIGHTS)[1].copy
        for place, one in enumerate(KEYPOINTS)
        for other in KEYPOINTS[:place]
    ]
    assert max(sures) < 0.5


def test_colours_are_compared_where_they_can_still_tell_and_tell_what_they_would(monkeypatch):
    compared = []
    measure = look_module.another_thing
    monkeypatch.setattr(
        look_module, "another_thing", lambda *asked: compared.append(asked) or measure(*asked)
    )
    pairs = [(one, other, False) for one, other in combinations(KEYPOINTS, 2)]
    pairs += [
        (one, find_keypoints(p[8:-8, 8:-8]), True)
        for one, p in zip(KEYPOINTS, PICTURES, strict=True)
    ]
    for one, other, copy in pairs:
        compared.clear()
        found = look(one, other, WEIGHTS)[1]
        asked = len(compared)
        best = max(sights(one, other), key=lambda s: over_all(log_odds(s, WEIGHTS)))
        whatever = told(best, WEIGHTS)
        assert (found == whatever) if copy else max(*found, *whatever) < HOPELESS
        assert asked == (1 if copy else 0)


def test_the_box_of_a_crop_is_within_five_pixels():
    errors = []
    for number, picture in enumerate(PICTURES):
        height, width = picture.shape[:2]
        for left, top, right, bottom in ((0.1, 0.2, 0.9, 0.95), (0.3, 0.1, 0.85, 0.7)):
            rows, columns = (
                slice(int(top * height), int(bottom * height)),
                slice(int(left * width), int(right * width)),
            )
            copy = np.ascontiguousarray(picture[rows, columns])
            sight, _ = _looked(number, copy)
            there = find_keypoints(copy)
            shares = in_shares(sight.affine, KEYPOINTS[number].picture, there.picture)
            corners = shares @ np.array([[0, 1], [0, 1], [1, 1]])
            true = [[columns.start / width, columns.stop / width]]
            true += [[rows.start / height, rows.stop / height]]
            errors.append(np.abs(corners - true).max() * 224)
    assert np.median(errors) < 5


def test_a_mirrored_picture_has_the_keypoints_that_are_told():
    one, other = mirrored(KEYPOINTS[0]), find_keypoints(np.ascontiguousarray(PICTURES[0][:, ::-1]))
    affine, points = align(one, other)
    assert points > 60
    assert np.abs(affine - [[1, 0, 0], [0, 1, 0]]).max() < 1.5


@pytest.mark.parametrize("along", [(1, 1), (1, 0), (0, 0)])
def test_points_on_one_line_are_no_alignment(along):
    rng = np.random.default_rng(4)
    steps = np.linspace(5, 90, 60)[:, None] * along + 2
    one, other = (
        np.column_stack([steps + rng.normal(0, noise, steps.shape), np.full(60, 5), np.zeros(60)])
        for noise in (0, 0.3)
    )
    descriptors = rng.integers(0, 255, (60, 128)).astype(np.uint8)
    pictures = [
        Keypoints(points.astype(np.float32), descriptors, KEYPOINTS[0].picture)
        for points in (one, other)
    ]
    assert align(*pictures) is None


def test_a_picture_that_shows_no_points_is_laid_over_as_a_whole():
    y, x = np.mgrid[:200, :300] / 300
    soft = np.stack([255 * x, 255 * y, 128 + 120 * np.sin(5 * x + 3 * y)], axis=2).astype(np.uint8)
    one, other = find_keypoints(soft), find_keypoints(cv2.resize(soft[:, ::-1], (90, 60)))
    sight, found = look(one, other, WEIGHTS)
    assert sight.points == 0
    assert found.copy > 0.9


def test_pictures_of_many_points_that_do_not_agree_are_not_laid_over_as_a_whole(monkeypatch):
    one, other = KEYPOINTS[:2]
    assert min(len(one.points), len(other.points)) >= TELLING
    monkeypatch.setattr("pipeline.dedup.look.agreement", None)
    sight, found = look(one, other, WEIGHTS)
    assert sight.agreed == NOTHING
    assert found.copy < 0.01


def _garment(rng):
    """A shirt or skirt of one colour, its folds and a print: (h, w, 3) and what of it shows."""
    shirt = [(60, 20), (140, 20), (195, 80), (165, 105), (145, 85), (145, 190), (55, 190)]
    shirt += [(55, 85), (35, 105), (5, 80)]
    outline = shirt if rng.random() < 0.5 else [(70, 15), (130, 15), (185, 190), (15, 190)]
    folds = cv2.GaussianBlur(rng.normal(0, 90, (200, 200)).astype(np.float32), (0, 0), 7)
    cloth = rng.integers(20, 235, 3) + folds[..., None]
    made = np.clip(cloth, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        colour = tuple(int(level) for level in rng.integers(0, 255, 3))
        cv2.putText(made, "MMXX", (62, 110), 0, 0.9, colour, 3)
    mask = cv2.fillPoly(np.zeros((200, 200), np.uint8), [np.array(outline)], 1)
    return made, mask > 0


def test_other_things_before_one_background_are_no_copies():
    rng = np.random.default_rng(8)
    sures = []
    for background in PICTURES:
        seen = [find_keypoints(laid_before(background, *_garment(rng), rng)) for _ in range(6)]
        sures += [look(one, other, WEIGHTS)[1].copy for one, other in combinations(seen, 2)]
    assert np.mean(np.array(sures) > 0.5) <= 0.1
    assert np.mean(np.array(sures) > 0.9) <= 0.05


def test_one_thing_under_another_light_is_a_copy():
    rng = np.random.default_rng(9)
    sures = []
    for background in PICTURES:
        shown = laid_before(background, *_garment(rng), rng)
        other = (255 * (shown / 255) ** 1.6).astype(np.uint8)
        sures.append(look(find_keypoints(shown), find_keypoints(other), WEIGHTS)[1].copy)
    assert min(sures) > 0.9


@pytest.mark.parametrize("points", [TELLING - 1, TELLING])
def test_pictures_that_show_points_of_which_none_agree_have_a_layout_in_common_alone(points):
    rng = np.random.default_rng(5)
    pages = [
        Keypoints(
            rng.uniform(1, 90, (points, 4)).astype(np.float32),
            rng.integers(0, 255, (points, 128)).astype(np.uint8),
            KEYPOINTS[0].picture,
        )
        for _ in range(2)
    ]
    assert (look(*pages, WEIGHTS)[1].copy < 0.05) == (points >= TELLING)


@pytest.mark.parametrize("number", range(8))
def test_whole_pictures_are_laid_over_in_every_orientation(number):
    picture = PICTURES[1]
    turned = picture.transpose(1, 0, 2) if number & 4 else picture
    turned = turned[::-1] if number & 1 else turned
    turned = turned[:, ::-1] if number & 2 else turned
    one, other = KEYPOINTS[1], find_keypoints(np.ascontiguousarray(turned))
    shares = in_shares(whole(one.picture, other.picture, number), one.picture, other.picture)
    assert set(np.abs(shares[:, :2]).ravel().round(9)) == {0.0, 1.0}
    sight, _ = look(one, other, WEIGHTS)
    assert sight.agreed.correlation > 0.95


WORDS = {
    "crop": (lambda p: p[20:-30, 40:-60], "b is a crop of a"),
    "border": (
        lambda p: cv2.copyMakeBorder(p, *[30] * 4, 0, value=(255, 255, 255)),
        "b has a border",
    ),
    "mirror": (lambda p: p[:, ::-1], "mirrored"),
    "quarter": (lambda p: np.rot90(p), "turned by 90"),
    "half": (lambda p: p[::-1, ::-1], "turned by 180"),
    "grey": (
        lambda p: np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2).astype("u1"),
        "b is grey",
    ),
    "soft": (lambda p: cv2.GaussianBlur(p, (0, 0), 3), "b is softer"),
    "stretch": (lambda p: cv2.resize(p, (p.shape[1], int(1.42 * p.shape[0]))), "stretched 1.4"),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_was_done_is_told_in_words(name):
    change, words = WORDS[name]
    told = []
    for number, picture in enumerate(PICTURES):
        other = find_keypoints(np.ascontiguousarray(change(picture)))
        sight, _ = look(KEYPOINTS[number], other, WEIGHTS)
        told.append(difference(KEYPOINTS[number].picture, other.picture, sight).words)
    right = [words in text.replace("-180", "180") for text in told]
    assert sum(right) >= len(right) - 1, told


SEEN_AS_SHARP = {
    "contrast": lambda p: (p * 0.5 + 60).astype(np.uint8),
    "half": lambda p: p[::-1, ::-1],
    "crop": lambda p: p[20:150, 30:180],
    "caption": lambda p: cv2.rectangle(p.copy(), (0, 0), (SIDE, 40), (255, 255, 255), -1),
}


@pytest.mark.parametrize("name", SEEN_AS_SHARP)
def test_what_keeps_its_detail_is_not_softer_and_neither_is_what_it_was_made_of(name):
    for keypoints, picture in zip(KEYPOINTS, PICTURES, strict=True):
        other = find_keypoints(np.ascontiguousarray(SEEN_AS_SHARP[name](picture)))
        sight, _ = look(keypoints, other, WEIGHTS)
        assert "softer" not in difference(keypoints.picture, other.picture, sight).words


@pytest.mark.parametrize("seed", [1, 2, 7, 8])  # things that show points enough
def test_what_lies_beyond_a_crop_on_a_plain_ground_is_no_border(seed):
    rng = np.random.default_rng(seed)
    ground = np.full((240, 240, 3), 235, np.uint8)
    photo = laid_before(ground, *_garment(rng), rng)
    crop = np.ascontiguousarray(photo[30:210, 70:230])
    one, other = find_keypoints(photo), find_keypoints(crop)
    words = difference(one.picture, other.picture, look(one, other, WEIGHTS)[0]).words
    assert "b is a crop of a" in words
    assert "border" not in words


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_seam_of_colour_alone_is_the_edge_of_another_picture(number):
    picture = 50 + PICTURES[number][:, : 2 * SIDE // 3] / 1.6
    beside = picture[:, ::-1] + [24, -12, 0]  # as bright, and goes on at the seam
    collage = np.hstack([picture, beside]).astype(np.uint8)
    one, other = find_keypoints(collage), find_keypoints(picture.astype(np.uint8))
    told = difference(one.picture, other.picture, look(one, other, WEIGHTS)[0])
    assert not told.b.cropped
    assert 0.4 < told.a.own < 0.5


def test_of_two_proportions_the_unusual_one_is_stretched():
    picture = PICTURES[0][:200, :300]
    one, other = (
        find_keypoints(np.ascontiguousarray(p)) for p in (picture, cv2.resize(picture, (390, 200)))
    )
    told = difference(one.picture, other.picture, look(one, other, WEIGHTS)[0])
    assert (told.a.stretched, told.b.stretched) == (False, True)
    told = difference(other.picture, one.picture, look(other, one, WEIGHTS)[0])
    assert (told.a.stretched, told.b.stretched) == (True, False)


def test_of_pictures_alike_in_all_but_detail_the_coarser_jpeg_is_told():
    picture, copy = (
        Seen(KEYPOINTS[0], name, name, False, quantised)
        for name, quantised in (("one", 5.0), ("other", 9.0))
    )
    told = told_look({1: picture, 2: copy}, 1, 2, WEIGHTS)
    assert (told["why"], told["a_coarser"], told["b_coarser"]) == (ALIKE, False, True)
    mirror = find_keypoints(np.ascontiguousarray(PICTURES[0][:, ::-1]))
    told = told_look({1: picture, 2: Seen(mirror, "m", "m", False, 9.0)}, 1, 2, WEIGHTS)
    assert "b_coarser" not in told


def test_quality_tells_nothing_of_what_was_sharpened_or_noisy_or_was_flatter_before():
    for picture, keypoints in zip(PICTURES, KEYPOINTS, strict=True):
        sharp = cv2.addWeighted(picture, 1.8, cv2.GaussianBlur(picture, (0, 0), 2), -0.8, 0)
        noise = np.random.default_rng(1).normal(0, 25, picture.shape)
        noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
        again = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 5])[1]
        saved = [
            difference(keypoints.picture, other.picture, look(keypoints, other, WEIGHTS)[0])
            for other in map(find_keypoints, (sharp, noisy, cv2.imdecode(again, cv2.IMREAD_COLOR)))
        ]
        assert [told.a_saved for told in saved] == [False] * 3


def test_what_lies_beside_a_picture_in_a_collage_is_no_more_of_it():
    told = []
    for number, keypoints in enumerate(KEYPOINTS):
        collage = changed(PICTURES[number], "collage", np.random.default_rng(1), PICTURES[::-1])
        other = find_keypoints(collage)
        sight, _ = look(keypoints, other, WEIGHTS)
        if sight.points:
            told.append(difference(keypoints.picture, other.picture, sight))
    assert len(told) > len(KEYPOINTS) // 2
    assert all(not each.a.cropped and 0.2 < each.b.own < 0.3 for each in told), told


def test_a_thing_of_another_colour_on_a_plain_ground_is_recoloured():
    icons = []
    for colour in ((200, 40, 30), (30, 60, 190)):
        icon = np.full((128, 128, 3), 255, np.uint8)
        cv2.circle(icon, (50, 70), 26, colour, -1)
        cv2.rectangle(icon, (70, 20), (110, 60), colour, 5)
        icons.append(find_keypoints(icon))
    words = difference(icons[0].picture, icons[1].picture, look(*icons, WEIGHTS)[0]).words
    assert "recoloured" in words


def test_a_copy_without_change_differs_in_nothing():
    for picture, keypoints in zip(PICTURES, KEYPOINTS, strict=True):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        other = find_keypoints(cv2.imdecode(data, cv2.IMREAD_COLOR))
        sight, _ = look(keypoints, other, WEIGHTS)
        assert difference(keypoints.picture, other.picture, sight).words == ""
