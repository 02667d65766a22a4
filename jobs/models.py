"""`sluice models`: what can embed here, and why the rest cannot."""

from jobs.config import Config, EmbedConfig
from jobs.console import print_table
from pipeline.core.errors import SluiceError
from pipeline.embedding.backends import choose_backend, has_cuda, usable_precisions
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.models import EMBEDDERS
from pipeline.embedding.openvino import openvino_capabilities
from pipeline.embedding.settings import BackendName, Precision
from pipeline.embedding.stored import encoder_settings

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
    print_table("models", ("model", "px", "dimensions", "state"), _models(config.embed))

    best = choose_backend("auto", "auto")
    backends = [
        (*pair, _refusal(*pair) or ("usable, what auto takes" if pair == best else "usable"))
        for pair in BACKENDS
    ]
    print_table("backends", ("backend", "precision", "state"), backends)
    print_table(
        "OpenVINO on this CPU", ("computes natively",), [(c,) for c in openvino_capabilities()]
    )


def _models(asked: EmbedConfig) -> list[tuple[str, int | str, int | str, str]]:
    """Return a row for each of Sluice's own networks, and for the one that is asked for."""
    rows: list[tuple[str, int | str, int | str, str]] = []
    for name in dict.fromkeys([*EMBEDDERS, asked.model]):
        mine = asked if name == asked.model else asked.model_copy(update={"weights": None})
        try:
            made = encoder_settings(**mine.encoder() | {"model": name})
            dimensions = build_encoder(made).dimensions
            state = f"usable on {made.backend}, {made.weights.path.name}"
            rows.append((name, made.input_size, dimensions, state))
        except SluiceError as error:
            rows.append((name, "", "", str(error)))
    return rows


def _refusal(backend: BackendName, precision: Precision) -> str | None:
    if backend == "cuda":
        return None if has_cuda() else "torch sees no CUDA GPU on this machine"
    if precision in usable_precisions(backend):
        return None
    if precision == "int8":
        return "nncf is not installed; pip install 'sluice[int8]'"
    return f"{precision} is not native to this CPU"
