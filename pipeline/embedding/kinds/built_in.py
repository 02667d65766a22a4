"""The CNNs that Sluice has itself."""

from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import SIZE, find_weights
from pipeline.embedding.settings import EncoderSettings

MULTIPLE = 32  # pixels: the CNNs halve a side five times


def find(asked: Asked) -> Found:
    """Return one of MODELS. Raises ConfigError for a side it cannot see, InputError."""
    size = asked.input_size or SIZE
    if size % MULTIPLE:
        raise ConfigError(
            f"embed.input_size is {size}, and {asked.model} takes multiples of {MULTIPLE}"
        )
    return Found(asked.model, find_weights(asked.model, asked.weights, asked.sha256), size)


def load(settings: EncoderSettings) -> Any:
    from pipeline.embedding.cnn import load_cnn

    return load_cnn(settings.model, settings.weights, settings.input_size)
