"""From which cosine two images are a pair, by the encoder: it is another for each."""

import json
from math import floor

import numpy as np

from pipeline.core.arrays import Vectors
from pipeline.core.paths import may_write
from pipeline.core.store import Store
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusImage, CorpusSettings, make_images
from pipeline.embedding.encoder import Encoder
from pipeline.embedding.models import DEFAULT, SIMILARITY
from pipeline.images.decode import decode_rgb
from pipeline.images.resize import resize_square

RECORD = "similarity.json"
MADE = CorpusSettings(seed=0, copies=4, size=256, quality=85)
IMAGES = 240


def kept_similarity(store: Store) -> float | None:
    """Return the cosine for the encoder of ``store``, None where it was not measured yet."""
    if store.identity.get("model", DEFAULT) == DEFAULT:
        return SIMILARITY
    data = store.attached(RECORD)
    return None if data is None else float(json.loads(data)["similarity"])


def keep_similarity(store: Store, similarity: float) -> None:
    """Keep the cosine in ``store`` where that can be written to."""
    if may_write(store.root):
        with store.lock():
            store.attach(RECORD, json.dumps({"similarity": similarity}).encode())


def measured_similarity(encoder: Encoder) -> float:
    """Return the cosine for ``encoder``, in thousandths.

    It lies half-way from the most alike of unlike images to 1, which is where that of DEFAULT lies.
    They are versions of scenes of different photographs, made of the built-in ones.
    """
    photos, _ = load_photos(find_photos(None))
    made = list(make_images(photos, MADE, range(IMAGES)))
    vectors = _embedded(made, encoder)
    names = np.array([image.photo.name for image in made])
    most = float((vectors @ vectors.T)[names[:, None] != names].max())
    return floor(1000 * (1 + most) / 2) / 1000


def _embedded(made: list[CorpusImage], encoder: Encoder) -> Vectors:
    size, fit = encoder.settings.input_size, encoder.settings.transform.fit
    least, encode = fit.covering(size), encoder.start()
    squares = (resize_square(decode_rgb(i.jpeg, least).pixels, size, fit) for i in made)
    return encode(np.stack(list(squares)))
