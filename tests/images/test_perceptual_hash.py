"""Perceptual hashes: of turned and mirrored pictures from one, near for copies, far for others."""

import cv2
import numpy as np
import pytest

from pipeline.corpus.photos import find_photos, load_photos
from pipeline.images.perceptual_hash import distances, oriented, perceptual_hash

PHOTOS = load_photos(find_photos(None))[0]
SQUARES = [cv2.resize(photo.levels[0], (224, 224)) for photo in PHOTOS]
HASHES = np.array([perceptual_hash(square) for square in SQUARES])


@pytest.mark.parametrize("number", range(8))
def test_the_hash_of_a_turned_picture_follows_from_its_own(number):
    for square, told in zip(SQUARES, oriented(HASHES)[number], strict=True):
        turned = square[:, ::-1] if number & 2 else square
        turned = turned[::-1] if number & 1 else turned
        turned = turned.transpose(1, 0, 2) if number & 4 else turned
        far = distances(np.array([perceptual_hash(np.ascontiguousarray(turned))]), told[None])
        assert far[0] <= 2


def test_copies_are_near_and_others_far():
    small = [cv2.resize(cv2.resize(s, (48, 48)), (224, 224)) for s in SQUARES]
    grey = [np.repeat(s.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) for s in SQUARES]
    for copies in (small, grey):
        near = distances(HASHES, np.array([perceptual_hash(copy) for copy in copies]))
        assert (near <= 10).sum() >= len(near) - 2  # gravel and grass have no large shapes
    far = distances(HASHES[:, None], HASHES[None, :])
    assert np.median(far[~np.eye(len(far), dtype=bool)]) > 20
    assert distances(np.array([-1]), np.array([0])) == 64
