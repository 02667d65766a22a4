"""Running a file of ONNX by ONNX Runtime: on a GPU, or on one thread of a CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.arrays import AnyArray, Pixels, Vectors
from pipeline.core.errors import ConfigError, InputError
from pipeline.embedding.kinds.openvino_file import checked_weights
from pipeline.embedding.settings import BackendName, Encode, EncoderSettings
from pipeline.embedding.transform import Transform

# A GPU by itself rounds f32 to TF32's 10 bits, and tries out which sums are fastest.
Provider = tuple[str, dict[str, str]]
PROVIDERS: dict[BackendName, Provider] = {
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    "onnxruntime": ("CPUExecutionProvider", {}),
}
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def onnxruntime_runner(settings: EncoderSettings, backend: BackendName | None = None) -> Encode:
    """Return (b,s,s,3) -> (b,d), on what ``backend`` names, or the settings' own.

    Raises ConfigError where ONNX Runtime is not installed or has no such device here, InputError
    where the file is another, or takes or gives other than its settings say.
    """
    path, chosen = settings.weights.path, PROVIDERS[backend or settings.backend]
    checked_weights(path, settings.weights.sha256)
    session = _session(path, chosen)
    image, transform = session.get_inputs()[0], settings.transform
    if image.type not in KINDS:
        raise InputError(f"{path} takes {image.type}; export it for float, float16 or uint8")
    kind, output = KINDS[image.type], _output(session, settings)

    def run(pixels: Pixels) -> Vectors:
        (found,) = session.run([output], {image.name: _scaled(pixels, transform, kind)})
        return _pooled(found, settings)

    return run


def _session(path: Path, provider: Provider) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "embed.backend needs ONNX Runtime; pip install 'sluice[onnx]', or on a GPU "
            "onnxruntime-gpu"
        ) from error
    name = provider[0]
    if name not in onnxruntime.get_available_providers():
        raise ConfigError(
            f"this ONNX Runtime has no {name}; pip install onnxruntime-gpu, or set "
            "embed.backend=openvino"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, [provider])
    except Exception as error:  # of its own classes, without a common one
        reason = (str(error).splitlines() or ["it is damaged"])[0][:200]
        raise InputError(f"ONNX Runtime cannot run {path} ({reason}); export it again") from error
    if name not in session.get_providers():  # it falls back to the CPU, and only logs that
        raise ConfigError(
            f"ONNX Runtime cannot use {name} on this machine; see that its CUDA and cuDNN are "
            "there, or set embed.backend=openvino"
        )
    return session


def _scaled(pixels: Pixels, transform: Transform, kind: type[Any]) -> AnyArray:
    """Return uint8 (b,s,s,3) as the network takes it."""
    images: AnyArray = pixels
    if kind != np.uint8:
        mean, deviation = np.array([transform.mean, transform.deviation], np.float32)
        images = ((pixels - mean) / deviation).astype(kind)
    placed = images if transform.layout == "NHWC" else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(placed)


def _output(session: Any, settings: EncoderSettings) -> str:
    wanted = settings.transform.output
    names: list[str] = [output.name for output in session.get_outputs()]
    found = [n for place, n in enumerate(names) if wanted in (n, place, None)]
    if len(found) != 1:
        raise InputError(
            f"{settings.model} has the outputs {', '.join(names)}; write which into the .yaml "
            "beside it, as output: NAME"
        )
    return found[0]


def _pooled(found: AnyArray, settings: EncoderSettings) -> Vectors:
    """Return (b,d) of what the network gives; what is no row an image is left as it is."""
    made, rank = settings.transform, found.ndim
    if made.pooling == "first" and rank == 3:
        found = found[:, 0]
    elif made.pooling == "mean" and rank in (3, 4):
        places = (1,) if rank == 3 else (2, 3) if made.layout == "NCHW" else (1, 2)
        found = found.mean(axis=places, dtype=np.float32)
    elif made.pooling or rank != 2:
        raise InputError(
            f"{settings.model} gives {found.shape}, no row an image; write pooling: first (token) "
            f"or mean into the .yaml beside {settings.model}, or output: another"
        )
    return found.astype(np.float32)
