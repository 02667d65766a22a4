"""Running a CNN on this hardware: squares of pixels in, embeddings out, by torch or OpenVINO."""

import functools
import importlib.util
import platform
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.embedding.models import MODELS, Model, find_weights
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.settings import BackendName, Encode, EncoderSettings, Precision


@dataclass(frozen=True)
class Encoder:
    """An encoder ready to be sent to workers: ``start()`` makes it run on one thread there.

    For OpenVINO ``network`` and ``constants`` hold the converted model, so that workers load
    neither torch nor the weights file.
    """

    settings: EncoderSettings
    network: bytes = b""
    constants: bytes = b""

    @property
    def dimensions(self) -> int:
        return MODELS[self.settings.model].dimensions

    def start(self) -> Encode:
        """Return uint8 (n,s,s,3) -> f32 (n,d), each row of unit length.

        Batches are padded to one fixed shape: an image's embedding must not depend on how many
        others it meets, and kernels differ between shapes.
        """
        if self.settings.backend == "openvino":
            run = _openvino_runner(self)
        else:
            run = _torch_runner(self.settings)
        return _in_fixed_batches(run, self.settings.batch_size)


def choose_backend(
    backend: Literal["auto"] | BackendName, precision: str
) -> tuple[BackendName, Precision]:
    """Return the backend and precision to use here: CUDA torch, else OpenVINO's best.

    int8 is taken only when asked for: its embeddings drift furthest. Whether a worker has a GPU
    is the cluster's to know, so "cuda" passes here. Raises ConfigError where what was asked for
    cannot run on this machine.
    """
    chosen = backend
    if chosen == "auto":
        chosen = "cuda" if has_cuda() else "openvino"
    usable = usable_precisions(chosen)
    if precision == "auto":
        return chosen, "bf16" if "bf16" in usable else "f32"
    for known in usable:
        if precision == known:
            return chosen, known
    raise ConfigError(
        f"embed.precision {precision} cannot run on {chosen} here; usable: {', '.join(usable)}"
    )


def usable_precisions(backend: BackendName) -> tuple[Precision, ...]:
    """Return the precisions ``backend`` computes natively here; int8 needs NNCF installed."""
    if backend == "cuda":
        return ("f32", "bf16")
    if backend == "torch":
        return ("f32",)
    bf16: tuple[Precision, ...] = ("bf16",) if "BF16" in openvino_capabilities() else ()
    int8: tuple[Precision, ...] = ("int8",) if importlib.util.find_spec("nncf") else ()
    return ("f32", *bf16, *int8)


def openvino_capabilities() -> list[str]:
    """Return what OpenVINO says this CPU computes natively, such as ["FP32", "BF16", "INT8"]."""
    capabilities: list[str] = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capabilities


@functools.lru_cache(maxsize=4)  # converting takes seconds, and jobs run one after the other
def build_encoder(settings: EncoderSettings) -> Encoder:
    """Convert the model for the backend. Raises InputError where the weights are not its own."""
    if settings.backend != "openvino":
        return Encoder(settings)
    import openvino as ov
    import torch

    from pipeline.embedding.cnn import load_cnn

    module = load_cnn(settings.model, settings.weights, settings.input_size)
    shape = [settings.batch_size, 3, settings.input_size, settings.input_size]
    with warnings.catch_warnings():  # torch deprecates the tracing that OpenVINO's converter uses
        warnings.simplefilter("ignore", FutureWarning)
        model = ov.convert_model(module, example_input=torch.zeros([1, *shape[1:]]))
    model.reshape(shape)
    return pack_network(settings, _with_uint8_input(model, MODELS[settings.model]))


def pack_network(settings: EncoderSettings, model: Any) -> Encoder:
    """Return the encoder that carries an OpenVINO ``model`` as bytes."""
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return Encoder(settings, path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _with_uint8_input(network: Any, model: Model) -> Any:
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    pixels = steps.input().preprocess().convert_element_type(ov.Type.f32)
    pixels.mean(list(model.mean)).scale(list(model.deviation))
    return steps.build()


def _openvino_runner(encoder: Encoder) -> Encode:
    import openvino as ov

    core = openvino_core()
    model = core.read_model(model=encoder.network, weights=encoder.constants)
    precision = ov.Type.bf16 if encoder.settings.precision == "bf16" else ov.Type.f32
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        # Each process pins its first thread to the same core: two workers would share one.
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        request.infer([pixels], share_inputs=True)
        return np.array(request.get_output_tensor().data, dtype=np.float32)

    return run


def _torch_runner(settings: EncoderSettings) -> Encode:
    if settings.backend == "cuda":
        _refuse_unfit_gpu(settings.precision)
        return torch_runner_on("cuda", settings)
    return torch_runner_on("cpu", settings)


def _refuse_unfit_gpu(precision: Precision) -> None:
    import torch

    here = platform.node()
    if not torch.cuda.is_available():
        raise ConfigError(
            f"embed.backend is cuda, but a worker sees no GPU on {here}; give every node that "
            "embeds one, or set embed.backend=openvino"
        )
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(
            f"the {torch.cuda.get_device_name()} of {here} has no bf16 arithmetic; "
            "set embed.precision=f32"
        )


def torch_runner_on(kind: Literal["cuda", "cpu"], settings: EncoderSettings) -> Encode:
    """Return uint8 (b,s,s,3) -> f32 (b,d) by torch on that kind of device.

    Raises InputError where this machine does not hold the weights' file, or another one.
    """
    import torch

    from pipeline.embedding.cnn import load_cnn

    device = torch.device(kind)
    weights = find_weights(settings.model, settings.weights.path, settings.weights.sha256)
    module = load_cnn(settings.model, weights, settings.input_size)
    module = module.to(device).to(memory_format=torch.channels_last)
    model = MODELS[settings.model]
    mean, deviation = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (model.mean, model.deviation)
    )

    def embed(pixels: np.ndarray[Any, Any]) -> torch.Tensor:
        host = torch.from_numpy(pixels)
        images = (host.pin_memory() if kind == "cuda" else host).to(device, non_blocking=True)
        images = (images.permute(0, 3, 1, 2).float() - mean) / deviation
        with torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bf16"):
            embeddings: torch.Tensor = module(images)
        return embeddings

    @torch.inference_mode()
    def run(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # By itself cuDNN rounds f32 to TF32's 10 bits, and may sum in another order each time.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found: np.ndarray[Any, Any] = embed(pixels).float().cpu().numpy()
        return found

    return run


def _in_fixed_batches(run: Encode, batch_size: int) -> Encode:
    def encode(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        parts = []
        for start in range(0, len(pixels), batch_size):
            batch = pixels[start : start + batch_size]
            padded = np.zeros((batch_size, *pixels.shape[1:]), np.uint8)
            padded[: len(batch)] = batch
            parts.append(run(padded)[: len(batch)])
        embeddings = np.concatenate(parts)
        unit: np.ndarray[Any, Any] = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        return unit

    return encode


def has_cuda() -> bool:
    """Return whether torch sees a GPU here."""
    import torch

    return torch.cuda.is_available()
