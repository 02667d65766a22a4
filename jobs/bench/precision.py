"""`sluice bench-precision`: what each backend and precision costs, and how far it drifts."""

import time
from typing import Any

import click
import numpy as np
import torch

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import print_table
from pipeline.core.errors import InputError
from pipeline.embedding.encoder import build_encoder, has_cuda, usable_precisions
from pipeline.embedding.quantised import quantise
from pipeline.embedding.settings import BackendName, Encode, EncoderSettings, Precision
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import open_source
from pipeline.images.squares import decode_squares
from pipeline.lab.precision_drift import drift

K = 10
ROUNDS = 3


@click.command()
@with_config
def command(config: Config) -> None:
    """Embed source.url's first shard by every way usable here; compare with torch f32."""
    torch.set_num_threads(1)
    source = open_source(config.source.url, config.source.kind)
    images = read_shard(source, plan_manifest(source, config.source.shard_rows), 0)
    made = encoder_settings(**config.embed.encoder())
    squares = decode_squares(images, made.input_size).pixels
    if len(squares) <= K:
        raise InputError(f"fewer than {K + 1} images of {source.url}'s first shard decode")
    encoders = {pair: _encoder(made, *pair) for pair in _pairs()}
    vectors = {pair: encode(squares) for pair, encode in encoders.items()}
    seconds: dict[Any, list[float]] = {pair: [] for pair in encoders}
    for _ in range(ROUNDS):
        for pair, encode in encoders.items():
            seconds[pair].append(_seconds(encode, squares[: 4 * made.batch_size]))
    rows = []
    for pair, found in vectors.items():
        apart = drift(vectors["torch", "f32"], found, K)
        cost = [1000 * s for s in seconds[pair]]
        rows.append(
            (
                *pair,
                float(np.median(cost)),
                min(cost),
                max(cost),
                apart.cosine_mean,
                apart.cosine_least,
                apart.recall,
            )
        )
    title = f"{len(squares)} images of {source.url}, {made.model}, {made.input_size} px, one thread"
    header = ("backend", "precision", "ms an image", "least", "most")
    print_table(title, (*header, "cosine", "least", f"recall@{K}"), rows)


def _pairs() -> list[tuple[BackendName, Precision]]:
    backends: list[BackendName] = ["torch", "openvino"]
    backends += ["cuda"] if has_cuda() else []
    return [(backend, p) for backend in backends for p in usable_precisions(backend)]


def _encoder(made: EncoderSettings, backend: BackendName, precision: Precision) -> Encode:
    settings = EncoderSettings(
        made.model, made.weights, backend, precision, made.input_size, made.batch_size
    )
    return (quantise if precision == "int8" else build_encoder)(settings).start()


def _seconds(encode: Encode, squares: np.ndarray[Any, Any]) -> float:
    began = time.perf_counter()
    encode(squares)
    return (time.perf_counter() - began) / len(squares)
