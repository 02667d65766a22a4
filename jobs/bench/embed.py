"""`sluice bench-embed`: our embedding against the hardware's limit and against common ways."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import torch

from cluster.lab.ray_data_recipe import embed_by_recipe
from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import errors, print_table
from jobs.embed import embed
from pipeline.core.errors import InputError
from pipeline.core.run_record import read_runs
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.embedding.encoder import build_encoder
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.stored import encoder_settings
from pipeline.images.decode import decode_rgb
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.resize import resize_square
from pipeline.images.source import open_source
from pipeline.lab.embed_rivals import RivalRun, embed_by_data_loader, embed_by_imagededup

OURS_WHOLE = "sluice embed, whole job"
ALL_BUSY = "limit: parts alone, all cores busy"
BUSY_IMAGES = 512


@click.command()
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rival-images", default=256, show_default=True, type=click.IntRange(32))
@with_config
def command(config: Config, repeats: int, rival_images: int) -> None:
    """Embed source.url our way, its first RIVAL_IMAGES the others' way, in turn, REPEATS times.

    Rates are images a second on ray.workers cores; only steady rates are compared, but where the
    row says whole.
    """
    settings = encoder_settings(**config.embed.encoder())
    images = _images(config)
    sample = images.slice(0, rival_images)
    rates: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    inside: dict[str, list[float]] = defaultdict(list)
    vectors: dict[str, np.ndarray[Any, Any]] = {}
    for _ in range(repeats):
        alone = _roofline(images.slice(0, 512)["bytes"].to_pylist(), settings)
        for name, milliseconds in alone.items():
            parts[name].append(milliseconds)
        rates["limit: parts alone x cores"].append(config.ray.workers * 1000 / sum(alone.values()))
        rates[ALL_BUSY].append(_busy_limit(config, settings))
        for precision in dict.fromkeys((settings.precision, "f32")):
            steady, whole, found, spent = _ours(config, precision)
            if precision == settings.precision:
                for name, milliseconds in spent.items():
                    inside[name].append(milliseconds)
            rates[f"sluice embed {precision}, steady"].append(steady)
            rates[f"{OURS_WHOLE}, {precision}"].append(whole)
            vectors[f"sluice embed {precision}, steady"] = found[:rival_images]
        for name, run in _rivals(sample, settings, config).items():
            rates[name].append(run.rate)
            vectors[name] = run.vectors
    print_table(
        f"one core alone, {settings.model}, {settings.input_size} px, {settings.precision}",
        ("part", "ms an image", "least", "most"),
        [(name, *_spread(values)) for name, values in parts.items()],
    )
    print_table(
        f"one worker of {config.ray.workers}, inside sluice embed",
        ("part", "ms an image", "least", "most"),
        [(name, *_spread(values)) for name, values in inside.items()],
    )
    _print_rates(rates, vectors, f"sluice embed {settings.precision}, steady")


def _images(config: Config) -> pa.Table:
    source = open_source(config.source.url, config.source.kind)
    manifest = plan_manifest(source, config.source.shard_rows)
    shards = sorted(set(manifest["shard"].to_pylist()))
    tables = [read_shard(source, manifest, shard).select(["id", "bytes"]) for shard in shards]
    images = pa.concat_tables(tables).sort_by("id")
    if images["bytes"].null_count or images.num_rows < 512:
        raise InputError(f"{config.source.url} needs 512 readable images to time; it lacks them")
    return images


def _roofline(images: list[bytes], settings: EncoderSettings) -> dict[str, float]:
    """Return ms an image of decode, resize and model, each alone on one thread."""
    torch.set_num_threads(1)
    size = settings.input_size
    encode = build_encoder(settings).start()
    began = time.perf_counter()
    decoded = [decode_rgb(data, size).pixels for data in images]
    after_decode = time.perf_counter()
    squares = np.stack([resize_square(pixels, size) for pixels in decoded])
    after_resize = time.perf_counter()
    encode(squares[: settings.batch_size])
    warm = time.perf_counter()
    encode(squares)
    ended = time.perf_counter()
    spans = (after_decode - began, after_resize - after_decode, ended - warm)
    names = ("decode", "resize", "model")
    return {n: 1000 * s / len(images) for n, s in zip(names, spans, strict=True)}


def _busy_limit(config: Config, settings: EncoderSettings) -> float:
    """Return the images a second of the parts, timed in as many processes at once as workers.

    Cores share caches and memory: with all of them busy none is as fast as one alone.
    """
    workers, data = config.ray.workers, _images(config)["bytes"].slice(0, BUSY_IMAGES).to_pylist()

    def start() -> Callable[[int], pa.Table]:
        def time_parts(shard: int) -> pa.Table:
            _roofline(data, settings)  # not counted: the others may still be starting
            return pa.table({"shard": [shard], "ms": [sum(_roofline(data, settings).values())]})

        return time_parts

    with ray_session(workers, config.ray.address):
        times = pa.concat_tables(map_shards(start, range(workers), workers))["ms"].to_pylist()
    return float(sum(1000 / ms for ms in times))


def _ours(
    config: Config, precision: str
) -> tuple[float, float, np.ndarray[Any, Any], dict[str, float]]:
    """Return steady and whole images a second, vectors by id, and ms an image by part, of one job.

    The parts are what a worker spends its time on; decoding runs beside the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"output": Path(folder) / "embeddings", "precision": precision}
        mine = config.model_copy(update={"embed": config.embed.model_copy(update=wanted)})
        began = time.perf_counter()
        embed(mine)
        seconds = time.perf_counter() - began
        store = Store.open(mine.embed.output, "embeddings")
        run = read_runs(mine.embed.output)[-1]
        tables = [store.read(e.shard, ["id", "embedding"]) for e in store.manifest()]
        vectors = embedding_matrix(pa.concat_tables(tables).sort_by("id")["embedding"])
    spent = {part: 1000 * total / run.images for part, total in run.worker_seconds.items()}
    return run.steady_rate, run.images / seconds, vectors, spent


def _rivals(sample: pa.Table, settings: EncoderSettings, config: Config) -> dict[str, RivalRun]:
    images, workers = sample["bytes"].to_pylist(), config.ray.workers
    with ray_session(workers, config.ray.address):
        runs = {"Ray Data's recipe, torch eager": embed_by_recipe(sample, settings, workers)}
    runs["torch DataLoader loop"] = embed_by_data_loader(images, settings, workers)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = embed_by_imagededup(images, settings, Path(folder))
            runs["imagededup's CNN encoder"] = run
    except ImportError as error:
        errors.print(f"[yellow]left out:[/] imagededup ({error})", highlight=False)
    return runs


def _spread(values: list[float]) -> tuple[float, float, float]:
    return float(np.median(values)), min(values), max(values)


def _print_rates(
    rates: dict[str, list[float]], vectors: dict[str, np.ndarray[Any, Any]], ours: str
) -> None:
    rows = []
    for name, values in rates.items():
        ratios = [mine / other for mine, other in zip(rates[ours], values, strict=True)]
        cosine = "" if name not in vectors else f"{_cosine(vectors[ours], vectors[name]):.5f}"
        rows.append((name, *_spread(values), *_spread(ratios), cosine))
    header = ("way", "images/s", "least", "most", "ours / this", "least", "most", "cosine to ours")
    print_table("images a second, median of the repeats", header, rows)


def _cosine(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float((one.astype(np.float64) * other).sum(axis=1).mean())
