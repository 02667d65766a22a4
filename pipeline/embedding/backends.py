"""What a CNN can run on here, and at which precision."""

import ctypes
import importlib.util
from typing import Literal

from pipeline.core.errors import ConfigError
from pipeline.embedding.openvino import openvino_capabilities
from pipeline.embedding.settings import BackendName, Precision

GPU_DRIVERS = ("libcuda.so.1", "libamdhip64.so", "nvcuda.dll")


def choose_backend(
    backend: Literal["auto"] | BackendName,
    precision: str,
    of: tuple[BackendName, ...] = ("cuda", "openvino", "torch"),
) -> tuple[BackendName, Precision]:
    """Return the backend and precision to use here: the first that can run it, in f32.

    of: those that can run the model, the one to take before others first. Whether a worker has a
    GPU is the cluster's to know, so "cuda" passes here. Raises ConfigError where what was asked for
    cannot run on this machine.
    """
    chosen = backend
    if chosen == "auto":
        here = [name for name in of if name != "cuda" or has_cuda()]
        chosen = here[0]
    if chosen not in of:
        raise ConfigError(f"the model cannot run on {chosen}; set embed.backend={of[0]}")
    if precision == "auto":
        return chosen, "f32"
    usable = usable_precisions(chosen, of)
    for known in usable:
        if precision == known:
            return chosen, known
    raise ConfigError(
        f"embed.precision {precision} cannot run on {chosen} here; usable: {', '.join(usable)}"
    )


def usable_precisions(
    backend: BackendName, of: tuple[BackendName, ...] = ("cuda", "openvino", "torch")
) -> tuple[Precision, ...]:
    """Return the precisions ``backend`` computes natively here; int8 needs NNCF installed.

    of: those that can run the model, as in ``choose_backend``.
    """
    if backend == "cuda" and "torch" in of:
        return ("f32", "bf16")
    if backend != "openvino":
        return ("f32",)
    bf16: tuple[Precision, ...] = ("bf16",) if "BF16" in openvino_capabilities() else ()
    int8: tuple[Precision, ...] = ("int8",) if importlib.util.find_spec("nncf") else ()
    return ("f32", *bf16, *int8)


def has_cuda() -> bool:
    """Return whether torch sees a GPU here; it is imported only where a GPU's driver is."""
    if not any(map(_loads, GPU_DRIVERS)):
        return False
    import torch

    return torch.cuda.is_available()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
