import numpy as np
import pytest

from pipeline.lab.precision_drift import drift


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_no_drift_and_much(photos):
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(200, 32)))
    same = drift(vectors, vectors, 10)
    assert (same.cosine_mean, same.recall) == (pytest.approx(1, abs=1e-6), 1.0)
    near = drift(vectors, unit(vectors + 0.02 * random.normal(size=vectors.shape)), 10)
    far = drift(vectors, unit(random.normal(size=vectors.shape)), 10)
    assert 1 > near.recall > 0.7 > 0.2 > far.recall
    assert near.cosine_least <= near.cosine_mean < 1
