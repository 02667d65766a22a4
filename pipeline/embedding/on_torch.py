"""Running a CNN by torch: on a GPU, or on the CPU as the reference."""

import platform
from typing import Literal

import torch

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.errors import ConfigError
from pipeline.embedding.kinds import load_model
from pipeline.embedding.models import file_weights
from pipeline.embedding.settings import Encode, EncoderSettings, Precision


def torch_runner(settings: EncoderSettings) -> Encode:
    """Return ``torch_runner_on`` the device that the backend names.

    Raises ConfigError where this machine has no GPU, or one without the precision.
    """
    if settings.backend == "cuda":
        _refuse_unfit_gpu(settings.precision)
        return torch_runner_on("cuda", settings)
    return torch_runner_on("cpu", settings)


def _refuse_unfit_gpu(precision: Precision) -> None:
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
    """Return (b,s,s,3) -> (b,d) by torch on that kind of device.

    Raises InputError where this machine does not hold the weights' file, or another one.
    """
    torch.set_num_threads(1)  # a worker has one core
    device, transform = torch.device(kind), settings.transform
    file_weights(settings.weights.path, settings.weights.sha256)
    module = load_model(settings)
    module = module.to(device).to(memory_format=torch.channels_last)
    mean, deviation = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (transform.mean, transform.deviation)
    )

    @torch.inference_mode()
    def run(pixels: Pixels) -> Vectors:
        # By itself cuDNN rounds f32 to TF32's 10 bits, and may sum in another order each time.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            images = (_on(device, pixels) - mean) / deviation
            with torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bf16"):
                embeddings = module(images)
            found: Vectors = embeddings.float().cpu().numpy()
        return found

    return run


def _on(device: torch.device, pixels: Pixels) -> torch.Tensor:
    """Return (b,s,s,3) as f32 (b,3,s,s) on ``device``."""
    host = torch.from_numpy(pixels)
    images = (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)
    return images.permute(0, 3, 1, 2).float()
