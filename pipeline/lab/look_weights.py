"""The weights of the second look, fitted: python -m pipeline.lab.look_weights EMBEDDINGS.

EMBEDDINGS is a store of photographs, as sluice embed makes it. Copies are made of some of them, by
all CHANGES but the collage. Pictures that are none are each one's nearest by the embedding, and
things before one background, cut out of photographs that show them before a plain one.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import yaml
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Pixels, Reals, Vectors
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.corpus.changes import CHANGES, changed
from pipeline.dedup.asked import FITTED
from pipeline.dedup.keypoints import Keypoints, find_keypoints
from pipeline.dedup.look import Odds, Sight, log_odds, over_all, sights, terms, weights_of
from pipeline.images.decode import decode_rgb
from pipeline.images.manifest import read_manifest, stored_source
from pipeline.images.reader import read_images
from pipeline.lab.changed_photos import COVERED, QUALITIES
from pipeline.lab.look_alikes import before_one_background, cut_out

SEED, CHANGED, ALONE, NEAREST = 11, 60, 900, 5
BACKGROUNDS, THINGS = 60, 8  # before each
WHOLE = 0.8  # correlation from which a copy is laid over its photograph as a whole
Fitted = dict[str, dict[str, list[float]]]  # of ``points``, ``whole`` and ``best``, by Odds
WEAK = 1e4  # inverse of the strength by which large weights are held back
COPY = (0.9, 25)  # places and points from which two photographs are taken for copies themselves


def fit_weights(store: Store) -> Fitted:
    """Return the weights, as weights.yaml holds them, of the photographs in ``store``."""
    cv2.setNumThreads(1)
    pictures, vectors = _pictures(store)
    rng = np.random.default_rng(SEED)
    made = _copies(pictures, rng), _others(pictures, vectors, rng), _look_alikes(pictures, rng)
    kinds = [list(kind) for kind in made]
    first, second = ([kind[half::2] for kind in kinds] for half in (0, 1))  # by pairs, in turn
    fitted: Fitted = {}
    for name, by_points in (("points", True), ("whole", False)):
        copies, *others = first
        right = [terms(s) for seen in copies for s in seen if _is_right(s, seen, by_points)]
        wrong = [
            [terms(s) for seen in kind for s in seen if bool(s.points) == by_points]
            for kind in others
        ]
        fitted[name] = _fitted([right, *wrong], [len(kind) for kind in first])
    weights = weights_of(fitted | {"best": {name: [] for name in Odds._fields}})
    best = [
        [max((log_odds(s, weights) for s in seen), key=over_all) for seen in kind]
        for kind in second
    ]
    return fitted | {"best": _fitted(best, [len(kind) for kind in best])}


def _pictures(store: Store) -> tuple[list[Pixels], Vectors]:
    """Return all photographs, scaled down, and their embeddings."""
    source, manifest = stored_source(store), read_manifest(store)
    pictures, vectors = [], []
    for entry in store.manifest():
        known = store.read(entry.shard, ["id", "key", "checksum", "embedding"])
        images = read_images(source, manifest, entry.shard, known.drop_columns(["embedding"]))
        pictures += [decode_rgb(data, COVERED).pixels for data in images["bytes"].to_pylist()]
        vectors.append(embedding_matrix(known["embedding"]))
    return pictures, np.concatenate(vectors)


def _copies(pictures: list[Pixels], rng: np.random.Generator) -> Iterator[list[Sight]]:
    """Yield the sights of photographs and their copies; whole ones where all is in both."""
    for place in rng.permutation(len(pictures))[:CHANGED]:
        keypoints = find_keypoints(pictures[place])
        others = [pictures[n] for n in rng.integers(0, len(pictures), 3)]
        for name in CHANGES:
            if name == "collage":
                continue
            copy = changed(pictures[place], name, rng, others)
            yield list(sights(keypoints, _saved(copy, rng)))


def _saved(picture: Pixels, rng: np.random.Generator) -> Keypoints:
    """Return the keypoints of ``picture`` saved as a JPEG of some quality."""
    quality = int(rng.integers(*QUALITIES))
    data = simplejpeg.encode_jpeg(picture, quality, "RGB", "420")
    return find_keypoints(decode_rgb(data, COVERED).pixels)


def _is_right(sight: Sight, seen: list[Sight], by_points: bool) -> bool:
    """Return whether a copy's sight is the right one: by most points, else as all of both."""
    if bool(sight.points) != by_points:
        return False
    if not by_points:
        return sight.agreed.correlation > WHOLE
    return sight.points == max(s.points for s in seen)


def _others(
    pictures: list[Pixels], vectors: Vectors, rng: np.random.Generator
) -> Iterator[list[Sight]]:
    for place in rng.permutation(len(pictures))[:ALONE]:
        scores = vectors @ vectors[place]
        scores[place] = -1
        keypoints = find_keypoints(pictures[place])
        for other in np.argsort(-scores)[:NEAREST]:
            seen = list(sights(keypoints, find_keypoints(pictures[other])))
            places, points = COPY
            if not any(s.agreed.places >= places and s.points >= points for s in seen):
                yield seen


def _look_alikes(pictures: list[Pixels], rng: np.random.Generator) -> Iterator[list[Sight]]:
    drawn = (pictures[place] for place in rng.permutation(len(pictures)))
    backgrounds = list(islice((p for p in drawn if cut_out(p) is None), BACKGROUNDS))
    for made in before_one_background(backgrounds, pictures, THINGS, rng):
        saved = [_saved(picture, rng) for picture in made]
        yield from (list(sights(one, other)) for one, other in combinations(saved, 2))


def _fitted(
    kinds: Sequence[Sequence[tuple[float, ...]]], pairs: Sequence[int]
) -> dict[str, list[float]]:
    """Return the weights of the Odds by the terms of ``kinds``: copies, others, look-alikes.

    A kind counts by its share of FITTED, however many ``pairs`` it has, and each of its pairs
    alike: that pictures can be laid over each other in a way at all tells of copies, too.
    """
    seen: Reals = np.array([terms for kind in kinds for terms in kind])
    counts = [len(kind) for kind in kinds]
    shares = np.array(FITTED) * sum(pairs) / np.array(pairs)
    model = LogisticRegression(C=WEAK, max_iter=20_000)
    model.fit(seen, np.repeat(np.arange(3), counts), np.repeat(shares, counts))
    rows = np.column_stack([model.intercept_, model.coef_])
    over = np.round(rows[0] - rows[1:], 3).tolist()
    return dict(zip(Odds._fields, over, strict=True))


if __name__ == "__main__":
    with threadpool_limits(1):
        yaml.safe_dump(fit_weights(Store.open(Path(sys.argv[1]), "embeddings")), sys.stdout)
