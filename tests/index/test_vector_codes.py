import numpy as np
import pytest

from pipeline.index.vector_codes import decode_vectors, encode_vectors


@pytest.mark.parametrize("precision", ["f32", "f16", "int8"])
def test_no_product_is_off_by_more_than_the_error(precision):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 40)).astype(np.float32)
    vectors[7] = 0
    table = encode_vectors(vectors, precision)
    decoded = decode_vectors(table.slice(3))
    assert np.array_equal(decoded, decode_vectors(table)[3:])
    queries = rng.normal(size=(50, 40))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    off = np.abs(queries @ (decode_vectors(table).astype(np.float64) - vectors).T)
    error = table["error"].to_numpy()
    assert (off <= error).all()
    assert (error.max() == 0) == (precision == "f32")
    assert (error <= 0.02 * np.linalg.norm(vectors, axis=1)).all()
