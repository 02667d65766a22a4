import numpy as np
import pytest
import simplejpeg

from pipeline.corpus.maker import CORPUS, corpus_table
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import TRANSFORMS, CorpusSettings, make_images

SETTINGS = CorpusSettings(seed=3, copies=8, size=96, quality=85)


@pytest.fixture(scope="module")
def wheel():
    return load_photos(find_photos(None))[0]


def test_an_image_does_not_depend_on_the_shard_it_falls_in(wheel):
    whole = corpus_table(wheel, SETTINGS, range(60))
    parts = [corpus_table(wheel, SETTINGS, range(s, min(s + 7, 60))) for s in range(0, 60, 7)]
    assert whole["bytes"].to_pylist() == [b for part in parts for b in part["bytes"].to_pylist()]
    assert whole.schema == CORPUS


def test_every_image_is_another_and_is_what_its_row_says(wheel):
    made = list(make_images(wheel, SETTINGS, range(400)))
    assert len({image.jpeg for image in made}) == 400
    for image in made:
        assert simplejpeg.decode_jpeg(image.jpeg).shape == (image.height, image.width, 3)
        assert image.scene == image.number // 8


def test_each_scene_has_every_transform_once(wheel):
    made = list(make_images(wheel, SETTINGS, range(16, 24)))
    assert tuple(image.transform for image in made) == TRANSFORMS
    assert len({image.photo.name for image in made}) == 1


def test_image_0_is_chelsea_the_cat_in_full(wheel, photos):
    first = next(iter(make_images(wheel, SETTINGS, range(1))))
    assert first.photo.label == "cat"
    pixels = simplejpeg.decode_jpeg(first.jpeg).astype(int)
    ys = np.linspace(0, 299, first.height).astype(int)
    xs = np.linspace(0, 450, first.width).astype(int)
    assert np.abs(pixels - photos[0][ys][:, xs].astype(int)).mean() < 15


def test_another_seed_gives_other_scenes(wheel):
    other = CorpusSettings(seed=4, copies=8, size=96, quality=85)
    far = range(8 * len(wheel), 8 * len(wheel) + 8)
    ours = {image.jpeg for image in make_images(wheel, SETTINGS, far)}
    assert ours.isdisjoint(image.jpeg for image in make_images(wheel, other, far))
