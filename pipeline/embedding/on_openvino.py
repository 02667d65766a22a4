"""A CNN converted for OpenVINO, and running it on one thread of a CPU."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from pipeline.core.arrays import Pixels, Vectors
from pipeline.embedding.models import MODELS, Model
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.settings import Encode, EncoderSettings, Precision


def converted(settings: EncoderSettings) -> Any:
    """Return the ov.Model that takes one batch of pixels u8 (b,s,s,3) and gives f32 (b,d).

    Raises InputError where the weights are not the model's.
    """
    import torch  # here, for workers run what was converted without it

    from pipeline.embedding.cnn import load_cnn

    module = load_cnn(settings.model, settings.weights, settings.input_size)
    shape = [settings.batch_size, 3, settings.input_size, settings.input_size]
    with warnings.catch_warnings():  # torch deprecates the tracing that OpenVINO's converter uses
        warnings.simplefilter("ignore", FutureWarning)
        network = ov.convert_model(module, example_input=torch.zeros([1, *shape[1:]]))
    network.reshape(shape)
    return _with_pixels_in(network, MODELS[settings.model])


def _with_pixels_in(network: Any, model: Model) -> Any:
    steps = PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    pixels = steps.input().preprocess().convert_element_type(ov.Type.f32)
    pixels.mean(list(model.mean)).scale(list(model.deviation))
    return steps.build()


def network_bytes(network: Any) -> tuple[bytes, bytes]:
    """Return an ov.Model as bytes: the network, and its constants."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(network, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def openvino_runner(network: bytes, constants: bytes, precision: Precision) -> Encode:
    """Return the function that runs a converted network on one batch."""
    core = openvino_core()
    options = {
        "INFERENCE_PRECISION_HINT": ov.Type.bf16 if precision == "bf16" else ov.Type.f32,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        # Each process pins its first thread to the same core: two workers would share one.
        "ENABLE_CPU_PINNING": False,
    }
    model = core.read_model(model=network, weights=constants)
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(pixels: Pixels) -> Vectors:
        request.infer([pixels], share_inputs=True)
        return np.array(request.get_output_tensor().data, dtype=np.float32)

    return run
