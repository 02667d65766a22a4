"""The settings of the rough CNN, which sees images at a low resolution."""

from pipeline.embedding.backends import usable_precisions
from pipeline.embedding.models import MODELS, find_weights
from pipeline.embedding.settings import EncoderSettings, Precision

SIDE = 64  # of the square that it sees, pixels
BATCH = 64


def rough_settings(cnn: EncoderSettings) -> EncoderSettings:
    """Return the rough encoder's settings for the backend that the whole CNN runs on."""
    precision: Precision = "bf16" if "bf16" in usable_precisions(cnn.backend) else "f32"
    rough = MODELS[cnn.model].rough or cnn.model
    return EncoderSettings(rough, find_weights(rough, None), cnn.backend, precision, SIDE, BATCH)
