"""`sluice models`: what can embed here, and why the rest cannot."""

from jobs.config import Config
from jobs.console import print_table
from pipeline.core.errors import SluiceError
from pipeline.embedding.backends import choose_backend, has_cuda, usable_precisions
from pipeline.embedding.models import MODELS, find_weights
from pipeline.embedding.openvino import openvino_capabilities
from pipeline.embedding.settings import BackendName, Precision

BACKENDS: tuple[tuple[BackendName, Precision], ...] = (
    ("cuda", "f32"),
    ("cuda", "bf16"),
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("torch", "f32"),
)


def command(config: Config) -> None:
    """List the models and backends that can run here."""
    models = []
    for name, model in MODELS.items():
        path = config.embed.weights if name == config.embed.model else None
        try:
            state = f"usable, weights {find_weights(name, path).path.name}"
        except SluiceError as error:
            state = str(error)
        models.append((name, model.dimensions, state))
    print_table("models", ("model", "dimensions", "state"), models)

    best = choose_backend("auto", "auto")
    backends = [
        (*pair, _refusal(*pair) or ("usable, what auto takes" if pair == best else "usable"))
        for pair in BACKENDS
    ]
    print_table("backends", ("backend", "precision", "state"), backends)
    print_table(
        "OpenVINO on this CPU", ("computes natively",), [(c,) for c in openvino_capabilities()]
    )


def _refusal(backend: BackendName, precision: Precision) -> str | None:
    if backend == "cuda":
        return None if has_cuda() else "torch sees no CUDA GPU on this machine"
    if precision in usable_precisions(backend):
        return None
    if precision == "int8":
        return "nncf is not installed; pip install 'sluice[int8]'"
    return f"{precision} is not native to this CPU"
