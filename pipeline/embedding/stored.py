"""The encoder of a store, converted once and kept there: queries need neither weights nor torch."""

from pathlib import Path
from typing import Literal

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.side_by_side import side_by_side
from pipeline.core.store import Store
from pipeline.embedding.backends import choose_backend
from pipeline.embedding.encoder import Encoder, build_encoder, encoder_of
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.kinds import find_model, kind_of
from pipeline.embedding.kinds.kind import Asked
from pipeline.embedding.models import MODELS, Weights, file_weights, find_weights
from pipeline.embedding.settings import BackendName, EncoderSettings, Precision
from pipeline.embedding.transform import transform_of

# A CPU gains nothing by larger batches, and one query is padded to a whole one.
ON_CPU: tuple[BackendName, ...] = ("openvino", "onnxruntime", "torch")
BATCH_SIZES: dict[BackendName, int] = {"cuda": 64, "python": 32, **dict.fromkeys(ON_CPU, 1)}


def stored_encoder(store: Store, settings: EncoderSettings) -> Encoder:
    """Return the encoder of ``store``; the first run keeps its converted network there.

    An int8 network depends on the images it was calibrated on and on the machine that did it, so
    resumed runs and searches must use that one; of the others they need not convert it again. Where
    a licence allows no copies none is kept, and it is converted each time.
    """
    before = _kept_network(store, settings.model)
    if before is not None:
        return encoder_of(settings, *before)
    made = built_encoder(settings)
    kept = bool(made.network) and kind_of(settings.model).kept
    if kept:
        network, constants = _names(settings.model)
        kept_bytes = ((constants, made.constants), (network, made.network))
        list(side_by_side(store.root, lambda both: store.attach(*both), kept_bytes))
    if settings.brought or not kept:
        store.attach(_place(settings.model), str(settings.weights.path).encode())
    return made


def weights_place(store: Store) -> Path | None:
    """Return where the file lay that the vectors of ``store`` were made with, if that is known."""
    place = store.attached(_place(store.identity["model"]))
    return Path(place.decode()) if place else None


def built_encoder(settings: EncoderSettings) -> Encoder:
    """Return the encoder, converted here and now; int8 is calibrated."""
    if settings.precision != "int8":
        return build_encoder(settings)
    from pipeline.embedding.quantised import quantise

    return quantise(settings)


def _names(model: str) -> tuple[str, str]:
    name = model.replace(":", "_")
    return f"networks/{name}.xml", f"networks/{name}.bin"


def _place(model: str) -> str:
    """Return the name under which a store keeps where the weights lie."""
    return f"networks/{model.replace(':', '_')}.path"


def _kept_network(store: Store, model: str) -> tuple[bytes, bytes] | None:
    network, constants = side_by_side(store.root, store.attached, _names(model))
    return None if network is None or constants is None else (network, constants)


def encoder_settings(
    model: str,
    weights: Path | None,
    weights_sha256: str | None,
    backend: Literal["auto"] | BackendName,
    precision: Literal["auto"] | Precision,
    input_size: int | None,
    batch_size: int | None,
) -> EncoderSettings:
    """Resolve what "auto" means on this machine, the model's own transform, and its checksum.

    input_size: none for the model's own; batch_size: none for what its file takes, or BATCH_SIZES'.
    Raises ConfigError
    where this machine cannot run it, InputError where the weights are missing.
    """
    chosen = choose_backend(backend, precision, kind_of(model).backends)
    if chosen[1] == "int8" and not kind_of(model).kept:
        raise ConfigError(f"the licence of {model} allows no changes; set embed.precision=f32")
    found = find_model(Asked(model, weights, weights_sha256, input_size))
    batch = batch_size or found.batch or BATCH_SIZES[chosen[0]]
    return EncoderSettings(
        found.model,
        found.weights,
        *chosen,
        found.input_size,
        batch,
        found.brought,
        found.version,
    )


def query_encoder(store: Store, weights: Path | None) -> Encoder:
    """Return the encoder that ``store`` was made with, so that queries are embedded alike.

    ``weights``: the file by now, none for where it lay. Raises StoreError where the decoder or
    resizer installed here is another; InputError where the network is not kept and the file is not
    the one it was made with, or where no encoder made its vectors.
    """
    if "weights_sha256" not in store.identity:
        raise InputError(
            f"{store.root} has vectors that no encoder made, so no other picture can be embedded "
            "alike; ask for an image by id:NUMBER, and give sluice dedup a --similarity"
        )
    kept = _kept_network(store, store.identity["model"])
    # A kept network holds its weights, and nobody opens their file again.
    sha256 = store.identity["weights_sha256"]
    found = Weights(Path(), sha256) if kept else _weights_again(store, weights)
    settings = _made_with(store, found)
    Store.create(store.root, "embeddings", embedding_identity(settings))
    return encoder_of(settings, *kept) if kept else build_encoder(settings)


def network_again(store: Store, weights: Path | None) -> dict[str, bytes]:
    """Return what ``store`` keeps of its network by name, converted anew as it was at first.

    ``weights``: their file by now, none for where it lay. Raises InputError where it is not the one
    that the store was made with, ConfigError where this machine cannot convert it.
    """
    found, model = _weights_again(store, weights), store.identity["model"]
    made = built_encoder(_made_with(store, found))
    network, constants = _names(model)
    kept = {network: made.network, constants: made.constants}
    return kept | {_place(model): str(found.path).encode()}


def _made_with(store: Store, weights: Weights) -> EncoderSettings:
    """Return the settings of the encoder that ``store`` was made with."""
    made = store.identity
    model = made["model"]
    return EncoderSettings(
        model,
        weights,
        made["backend"],
        made["precision"],
        made["input_size"],
        made["batch_size"],
        None if model in MODELS else transform_of(made["transform"]),
        made["version"],
    )


def _weights_again(store: Store, weights: Path | None) -> Weights:
    model, sha256 = store.identity["model"], store.identity["weights_sha256"]
    place = weights_place(store) if weights is None else None
    if place is not None and place.exists():
        weights = place
    if weights is None and model in MODELS:
        return find_weights(model, None, sha256)
    if weights is None:
        raise InputError(
            f"{store.root} needs {place or model}, which is gone; name it in embed.weights"
        )
    return file_weights(weights, sha256)
