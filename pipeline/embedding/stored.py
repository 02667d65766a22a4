"""The encoder of a store, converted once and kept there: queries need neither weights nor torch."""

from pathlib import Path
from typing import Literal

from pipeline.core.store import Store
from pipeline.embedding.backends import choose_backend
from pipeline.embedding.encoder import Encoder, build_encoder
from pipeline.embedding.models import Weights, find_weights
from pipeline.embedding.settings import BackendName, EncoderSettings, Precision
from pipeline.embedding.shard_embedder import embedding_identity

# A CPU gains nothing by larger batches, and one query is padded to a whole one.
BATCH_SIZES: dict[BackendName, int] = {"cuda": 64, "openvino": 1, "torch": 1}


def stored_encoder(store: Store, settings: EncoderSettings) -> Encoder:
    """Return the encoder of ``store``; the first run keeps its converted network there.

    An int8 network depends on the images it was calibrated on and on the machine that did it, so
    resumed runs and searches must use that one; of the others they need not convert it again.
    """
    kept = _kept_network(store, settings.model)
    if kept is not None:
        return Encoder(settings, *kept)
    made = _made(settings)
    if made.network:
        network, constants = _names(settings.model)
        store.attach(constants, made.constants)
        store.attach(network, made.network)
    return made


def _made(settings: EncoderSettings) -> Encoder:
    if settings.precision != "int8":
        return build_encoder(settings)
    from pipeline.embedding.quantised import quantise

    return quantise(settings)


def _names(model: str) -> tuple[str, str]:
    return f"networks/{model}.xml", f"networks/{model}.bin"


def _kept_network(store: Store, model: str) -> tuple[bytes, bytes] | None:
    network, constants = map(store.attached, _names(model))
    return None if network is None or constants is None else (network, constants)


def encoder_settings(
    model: str,
    weights: Path | None,
    weights_sha256: str | None,
    backend: Literal["auto"] | BackendName,
    precision: Literal["auto"] | Precision,
    input_size: int,
    batch_size: int | None,
) -> EncoderSettings:
    """Resolve what "auto" means on this machine, and the weights' path and checksum.

    batch_size: none for BATCH_SIZES'. Raises ConfigError where this machine cannot run it,
    InputError where the weights are missing.
    """
    chosen = choose_backend(backend, precision)
    found = find_weights(model, weights, weights_sha256)
    batch = batch_size or BATCH_SIZES[chosen[0]]
    return EncoderSettings(model, found, *chosen, input_size, batch)


def query_encoder(store: Store, weights: Path | None) -> Encoder:
    """Return the encoder that ``store`` was made with, so that queries are embedded alike.

    Raises StoreError where the decoder or resizer installed here is another; InputError where the
    network is not kept and ``weights`` (none: the installed package's) are not those it was made
    with.
    """
    made = store.identity
    kept = _kept_network(store, made["model"])
    sha256 = made["weights_sha256"]
    # A kept network holds its weights, and nobody opens their file again.
    found = Weights(store.root, sha256) if kept else find_weights(made["model"], weights, sha256)
    settings = EncoderSettings(
        made["model"],
        found,
        made["backend"],
        made["precision"],
        made["input_size"],
        made["batch_size"],
    )
    Store.create(store.root, "embeddings", embedding_identity(settings))
    return Encoder(settings, *kept) if kept else build_encoder(settings)
