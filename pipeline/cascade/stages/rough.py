"""The stage that looks roughly: the rough network of the CNN's model, at a low resolution."""

from typing import TYPE_CHECKING

from pipeline.cascade.stages.stage import Network, Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import AnyArray, Numbers, Vectors
    from pipeline.embedding.settings import EncoderSettings, Precision

SIDE = 64  # of the square the network sees, pixels
BATCH = 64
LEVELS = 2**15


def rough_levels(rough: "Vectors") -> "Numbers":
    """Return f32 (n, f) rough features of unit length as whole numbers int32."""
    import numpy as np

    whole: Vectors = np.rint(rough * LEVELS)
    return whole.astype(np.int32)


def _numbers(features: "pa.Table") -> "AnyArray":
    import numpy as np

    from pipeline.core.tables import embedding_matrix

    rough = rough_levels(embedding_matrix(features["rough"]))
    signatures = embedding_matrix(features["signature"])
    return np.concatenate([rough, signatures.astype(np.int32)], axis=1)


def _settings(cnn: "EncoderSettings") -> "EncoderSettings":
    """Return the settings for the backend that the whole CNN runs on, where that runs it too."""
    from pipeline.embedding.backends import usable_precisions
    from pipeline.embedding.kinds import kind_of
    from pipeline.embedding.models import MODELS, ROUGH, find_weights
    from pipeline.embedding.settings import EncoderSettings

    rough = (MODELS[cnn.model].rough or cnn.model) if cnn.model in MODELS else ROUGH
    backend = cnn.backend if cnn.backend in kind_of(rough).backends else "openvino"
    precision: Precision = "bf16" if "bf16" in usable_precisions(backend) else "f32"
    return EncoderSettings(rough, find_weights(rough, None), backend, precision, SIDE, BATCH)


STAGE = Stage("rough", numbers=_numbers, network=Network("rough", _settings))
