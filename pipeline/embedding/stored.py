"""The encoder of a store, made once and kept where it could not be made alike again."""

from pathlib import Path
from typing import Literal

from pipeline.core.store import Store
from pipeline.embedding.backends import choose_backend
from pipeline.embedding.encoder import Encoder, build_encoder
from pipeline.embedding.models import find_weights
from pipeline.embedding.quantised import quantise
from pipeline.embedding.settings import BackendName, EncoderSettings, Precision
from pipeline.embedding.shard_embedder import embedding_identity

NETWORK, CONSTANTS = "network.xml", "network.bin"


def stored_encoder(store: Store, settings: EncoderSettings) -> Encoder:
    """Return the encoder of ``store``.

    An int8 network depends on the images it was calibrated on and on the machine that did it, so
    the first run keeps it in the store, and resumed runs and searches use that one.
    """
    if settings.precision != "int8":
        return build_encoder(settings)
    network, constants = store.attached(NETWORK), store.attached(CONSTANTS)
    if network is None or constants is None:
        made = quantise(settings)
        store.attach(CONSTANTS, made.constants)
        store.attach(NETWORK, made.network)
        return made
    return Encoder(settings, network, constants)


def encoder_settings(
    model: str,
    weights: Path | None,
    weights_sha256: str | None,
    backend: Literal["auto"] | BackendName,
    precision: Literal["auto"] | Precision,
    input_size: int,
    batch_size: int,
) -> EncoderSettings:
    """Resolve what "auto" means on this machine, and the weights' path and checksum.

    Raises ConfigError where this machine cannot run it, InputError where the weights are missing.
    """
    chosen = choose_backend(backend, precision)
    found = find_weights(model, weights, weights_sha256)
    return EncoderSettings(model, found, *chosen, input_size, batch_size)


def stored_settings(store: Store, weights: Path | None) -> EncoderSettings:
    """Return the settings ``store`` was made with, so that queries are embedded alike.

    Raises StoreError where the decoder or resizer installed here is another, InputError where
    ``weights`` (none: the installed package's) are not those the store was made with.
    """
    made = store.identity
    model = made["model"]
    found = find_weights(model, weights, made["weights_sha256"])
    settings = EncoderSettings(
        model, found, made["backend"], made["precision"], made["input_size"], made["batch_size"]
    )
    Store.create(store.root, "embeddings", embedding_identity(settings))
    return settings
