"""`sluice models`: what can embed here, and why the rest cannot."""

import click

from jobs.config import Config
from jobs.console import print_table
from jobs.options import with_config
from pipeline.cnn import DIMENSIONS, find_weights
from pipeline.encoder import BackendName, choose_backend, openvino_capabilities
from pipeline.errors import SluiceError

BACKENDS: tuple[tuple[BackendName, str], ...] = (
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("torch", "f32"),
)


@click.command()
@with_config
def command(config: Config) -> None:
    """List models and backends with what `auto` takes; embed.weights is looked at for resnet50."""
    models = []
    for model, dimensions in DIMENSIONS.items():
        path = config.embed.weights if model == config.embed.model else None
        try:
            state = f"usable, weights {find_weights(model, path).path.name}"
        except SluiceError as error:
            state = str(error)
        models.append((model, dimensions, state))
    print_table("models", ("model", "dimensions", "state"), models)

    best = choose_backend("auto", "auto")
    backends = []
    for backend, precision in BACKENDS:
        try:
            choose_backend(backend, precision)
            state = "usable, what auto takes" if (backend, precision) == best else "usable"
        except SluiceError as error:
            state = str(error)
        backends.append((backend, precision, state))
    print_table("backends", ("backend", "precision", "state"), backends)
    print_table(
        "OpenVINO on this CPU", ("computes natively",), [(c,) for c in openvino_capabilities()]
    )
