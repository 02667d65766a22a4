"""The settings of the rough CNN: EfficientNet-Lite0 cut half-way, at a low resolution."""

from pipeline.cascade.signature import SIDE
from pipeline.embedding.encoder import usable_precisions
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings, Precision

BATCH = 64


def rough_settings(cnn: EncoderSettings) -> EncoderSettings:
    """Return the rough encoder's settings for the backend that the whole CNN runs on."""
    precision: Precision = "bf16" if "bf16" in usable_precisions(cnn.backend) else "f32"
    weights = find_weights("efficientnet_lite0", None)
    return EncoderSettings("lite0_rough", weights, cnn.backend, precision, SIDE, BATCH)
