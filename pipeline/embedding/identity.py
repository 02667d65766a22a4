"""The settings by which stores of embeddings are told apart."""

from typing import Any

from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.transform import plain
from pipeline.images.decode import DECODER
from pipeline.images.resize import RESIZER


def embedding_identity(settings: EncoderSettings) -> dict[str, Any]:
    """Return what an embedding's value depends on beside its image: never mixed in one store."""
    return {
        "model": settings.model,
        "weights_sha256": settings.weights.sha256,
        "backend": settings.backend,
        "precision": settings.precision,
        "input_size": settings.input_size,
        "batch_size": settings.batch_size,
        "decoder": DECODER,
        "resizer": RESIZER,
        "transform": plain(settings.transform),
        "version": settings.version,
    }
