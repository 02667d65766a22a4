"""A network converted for OpenVINO, and running it on one thread of a CPU."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from openvino.preprocess import PrePostProcessor

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.errors import InputError
from pipeline.embedding.kinds import load_model
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.settings import Encode, EncoderSettings, Precision
from pipeline.embedding.transform import Transform


def converted(settings: EncoderSettings) -> Any:
    """Return the ov.Model that takes one batch of pixels u8 (b,s,s,3) and gives f32 (b,d).

    Raises InputError where the weights are not the model's, or it cannot be made so.
    """
    loaded = load_model(settings)
    network = loaded if isinstance(loaded, ov.Model) else _from_torch(loaded, settings)
    _reshape(network, settings)
    if isinstance(loaded, ov.Model):
        network = _one_row(network, settings)
    return _with_pixels_in(network, settings.transform)


def _from_torch(module: Any, settings: EncoderSettings) -> Any:
    import torch  # here, for workers run what was converted without it
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    side = settings.input_size
    # The check traces twice more, and would only warn.
    unchecked: dict[str, Any] = {"trace_kwargs": {"check_trace": False}}
    with warnings.catch_warnings():  # torch deprecates the tracing that OpenVINO's converter uses
        warnings.simplefilter("ignore")
        zeros = torch.zeros([1, 3, side, side])
        return ov.convert_model(TorchScriptPythonDecoder(module, example_input=zeros, **unchecked))


def _reshape(network: Any, settings: EncoderSettings) -> None:
    """Fix the batch and the side of the images."""
    batch, side = settings.batch_size, settings.input_size
    nchw = settings.brought is None or settings.transform.layout == "NCHW"
    try:
        network.reshape([batch, 3, side, side] if nchw else [batch, side, side, 3])
    except RuntimeError as error:
        raise InputError(
            f"{settings.model} cannot take {batch} images of {side} x {side} pixels at once "
            f"({network.inputs[0].partial_shape}); set embed.input_size and embed.batch_size to "
            "what it takes"
        ) from error


def _one_row(network: Any, settings: EncoderSettings) -> Any:
    """Return the network with the chosen output alone, made (b, d)."""
    made, chosen = settings.transform, _output(network, settings)
    rank, remedy = len(chosen.partial_shape), f"into the .yaml beside {settings.model}"
    if made.pooling == "first" and rank == 3:
        row = ops.gather(chosen, np.int64(0), np.int64(1))
    elif made.pooling == "mean" and rank in (3, 4):
        places = [1] if rank == 3 else [2, 3] if made.layout == "NCHW" else [1, 2]
        row = ops.reduce_mean(chosen, np.array(places), keep_dims=False)
    elif made.pooling or rank != 2:
        raise InputError(
            f"{settings.model} gives {chosen.partial_shape}, no row an image; write pooling: first "
            f"(token) or mean {remedy}, or output: another"
        )
    else:
        row = chosen
    return ov.Model([ops.result(row)], network.get_parameters(), "embedding")


def _output(network: Any, settings: EncoderSettings) -> Any:
    wanted, outputs = settings.transform.output, network.outputs
    found = [
        output.get_node().input_value(0)
        for number, output in enumerate(outputs)
        if (wanted in output.names if isinstance(wanted, str) else wanted in (number, None))
    ]
    if len(found) == 1:
        return found[0]
    told = [f"{next(iter(o.names), n)} {o.partial_shape}" for n, o in enumerate(outputs)]
    raise InputError(
        f"{settings.model} has the outputs {', '.join(told)}; write which into the .yaml beside "
        "it, as output: NAME"
    )


def _with_pixels_in(network: Any, transform: Transform) -> Any:
    steps, kind = PrePostProcessor(network), network.inputs[0].element_type
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout(transform.layout))
    if kind != ov.Type.u8:
        pixels = steps.input().preprocess().convert_element_type(ov.Type.f32)
        pixels.mean(list(transform.mean)).scale(list(transform.deviation))
        pixels.convert_element_type(kind)
    steps.output().tensor().set_element_type(ov.Type.f32)
    return steps.build()


def network_bytes(network: Any) -> tuple[bytes, bytes]:
    """Return an ov.Model as bytes: the network, and its constants.

    Names that OpenVINO gives count what a process has made before; here they count this network's
    own parts, so that the same network is the same bytes anywhere.
    """
    network.set_friendly_name("network")
    for number, part in enumerate(network.get_ordered_ops()):
        part.set_friendly_name(f"{part.get_type_name()}_{number}")
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
