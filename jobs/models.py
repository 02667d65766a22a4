"""`sluice models`: what can embed here, what is taken by itself, and why the rest is not."""

import importlib.util

from jobs.config import Config, EmbedConfig
from jobs.console import print_table
from pipeline.core.errors import SluiceError
from pipeline.core.store import Store
from pipeline.embedding.backends import choose_backend, has_cuda, usable_precisions
from pipeline.embedding.choice import FASTER, KEPT, WORTH, kept_tried, tried_rows
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.kept_loss import K
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.kinds.kind import ModelKind
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
    ("onnxruntime", "f32"),
    ("torch", "f32"),
    ("python", "f32"),
)


def command(config: Config) -> None:
    """List the models and backends that can run here, and what is taken by itself."""
    print_table("models", ("model", "px", "dimensions", "state"), _models(config.embed))
    kind = kind_of(config.embed.model)
    backends = [(*pair, _state(*pair, kind)) for pair in BACKENDS]
    print_table(f"backends for {config.embed.model}", ("backend", "precision", "state"), backends)
    print_table(
        "OpenVINO on this CPU", ("computes natively",), [(c,) for c in openvino_capabilities()]
    )
    _print_tried(config.embed)


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


def _state(backend: BackendName, precision: Precision, kind: ModelKind) -> str:
    refused = _refusal(backend, precision, kind)
    untried = "; untried on any GPU" if backend == "cuda" and kind.of_onnx else ""
    best, _ = choose_backend("auto", "auto", kind.backends)
    if refused or backend != best:
        return f"{refused or 'usable'}{untried}"
    if precision == "f32":
        return "usable, what auto takes"
    return (
        f"usable; auto tries it where a new store begins with {WORTH[precision]:,} images, and "
        f"takes it if it is {FASTER} times as fast and {KEPT} of f32's {K} nearest stay"
    )


def _refusal(backend: BackendName, precision: Precision, kind: ModelKind) -> str | None:
    if backend not in kind.backends:
        return "it cannot run this model"
    if backend == "cuda" and not kind.of_onnx and not has_cuda():
        return "torch sees no CUDA GPU on this machine"
    if kind.of_onnx and backend in ("cuda", "onnxruntime"):
        wanted = "CUDAExecutionProvider" if backend == "cuda" else "CPUExecutionProvider"
        if wanted not in _providers():
            package = "onnxruntime-gpu" if backend == "cuda" else "'sluice[onnx]'"
            return f"ONNX Runtime for it is not installed; pip install {package}"
    if precision in usable_precisions(backend, kind.backends):
        return None
    if precision == "int8":
        return "nncf is not installed; pip install 'sluice[int8]'"
    return f"{precision} is not native to it here"


def _providers() -> list[str]:
    if importlib.util.find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found


def _print_tried(asked: EmbedConfig) -> None:
    """Print what was tried for ``embed.output``, where that is there."""
    if not (asked.output / "store.json").exists():
        return
    store = Store.open(asked.output.resolve(), "embeddings")
    taken = f"{store.identity['backend']} {store.identity['precision']}"
    rows = [("taken for it", taken), *tried_rows(kept_tried(store))]
    print_table(f"embeddings: {asked.output}", ("what", "value"), rows)
