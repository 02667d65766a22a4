import numpy as np
import pyarrow as pa
import pytest

from cluster.lab.ray_data_recipe import embed_by_recipe
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.squares import decode_squares
from pipeline.lab.embed_rivals import embed_by_data_loader


@pytest.mark.ray
def test_the_rivals_embed_the_same_images_alike(jpegs, ray_cluster):
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "openvino", "f32", 64, 4)
    images = pa.table({"id": range(12), "key": [str(n) for n in range(12)], "bytes": jpegs})
    ours = build_encoder(settings).start()(decode_squares(images, 64).pixels)
    shuffled = images.select(["id", "bytes"]).take(np.arange(12)[::-1])
    for run in (
        embed_by_recipe(shuffled, settings, 2),
        embed_by_data_loader(jpegs, settings, 1),
    ):
        assert run.rate > 0
        assert (ours * run.vectors).sum(axis=1).min() > 0.98
