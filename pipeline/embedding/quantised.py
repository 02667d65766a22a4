"""An int8 network by post-training quantisation, made once and kept in the store it embeds for."""

import functools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np

from pipeline.core.arrays import Pixels
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusSettings, make_images
from pipeline.embedding.encoder import Encoder, build_encoder, encoder_of
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.decode import decode_rgb
from pipeline.images.resize import resize_square

CALIBRATION_IMAGES = 256


@functools.lru_cache(maxsize=1)  # tried first, and then taken
def quantise(settings: EncoderSettings) -> Encoder:
    """Quantise the network to int8 with NNCF, calibrated on images made from the built-in photos.

    Weights and activations are 8-bit, biases are corrected (fast bias correction, the default of
    nncf.quantize). It is done in a process of its own: NNCF makes OpenVINO cores that come and go,
    which can leave a thread without its signal stack (see openvino_core).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        return own.submit(_quantise, settings).result()


def _quantise(settings: EncoderSettings) -> Encoder:
    import nncf

    from pipeline.embedding.on_openvino import network_bytes

    whole = build_encoder(replace(settings, precision="f32"))
    model = openvino_core().read_model(model=whole.network, weights=whole.constants)
    batches = _calibration_batches(settings)
    quantised = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    return encoder_of(settings, *network_bytes(quantised))


def _calibration_batches(settings: EncoderSettings) -> list[Pixels]:
    size, batch_size, fit = settings.input_size, settings.batch_size, settings.transform.fit
    least = fit.covering(size)
    photos, _ = load_photos(find_photos(None))
    corpus = CorpusSettings(seed=0, copies=1, size=least, quality=90)
    made = make_images(photos, corpus, range(CALIBRATION_IMAGES))
    decoded = (decode_rgb(image.jpeg, least).pixels for image in made)
    squares = np.stack([resize_square(pixels, size, fit) for pixels in decoded])
    count = max(1, len(squares) // batch_size)
    rows = np.arange(count * batch_size) % len(squares)
    return np.split(squares[rows], count)
