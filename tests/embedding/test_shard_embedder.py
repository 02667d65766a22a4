import numpy as np
import pyarrow as pa

from pipeline.core.tables import embedding_matrix
from pipeline.embedding.shard_embedder import embed_images
from pipeline.images.squares import decode_squares


def table(data):
    return pa.table(
        {"id": range(len(data)), "key": [f"k{n}" for n in range(len(data))]}
    ).append_column("bytes", pa.array(data, pa.binary()))


def mean_colour(pixels):
    return pixels.mean(axis=(1, 2)).astype(np.float32)


def test_bad_images_are_quarantined_and_the_rest_keep_their_rows(jpegs):
    data = [jpegs[0], b"", jpegs[1], b"text", None, jpegs[2], jpegs[3][:900]]
    images = table(data).append_column("label", pa.array([f"l{n}" for n in range(7)]))
    kept, refused = embed_images(images, mean_colour, 32, batch_size=3, dimensions=3)
    assert kept["id"].to_pylist() == [0, 2, 5]
    assert kept["label"].to_pylist() == ["l0", "l2", "l5"]
    assert (kept["width"][0].as_py(), kept["height"][0].as_py()) == (200, 150)
    reasons = dict(zip(refused["id"].to_pylist(), refused["reason"].to_pylist(), strict=True))
    assert reasons == {1: "empty", 3: "not-an-image", 4: "changed", 6: "truncated"}
    alone = mean_colour(decode_squares(table([jpegs[2]]), 32).pixels)
    assert np.array_equal(embedding_matrix(kept["embedding"])[2], alone[0])


def test_a_shard_of_only_bad_images_is_an_empty_one():
    kept, refused = embed_images(table([b"", b"no"]), mean_colour, 32, batch_size=8, dimensions=3)
    assert kept.num_rows == 0
    assert kept["embedding"].type.list_size == 3
    assert refused.num_rows == 2
