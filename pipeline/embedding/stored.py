"""The encoder of a store, made once and kept where it could not be made alike again."""

from pipeline.core.store import Store
from pipeline.embedding.encoder import Encoder, build_encoder
from pipeline.embedding.quantised import quantise
from pipeline.embedding.settings import EncoderSettings

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
