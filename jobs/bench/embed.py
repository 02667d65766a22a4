"""`sluice bench embed`: our embedding against the hardware's limit and against common ways."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_table, warn
from jobs.lab.config import BenchEmbedConfig, LabConfig
from jobs.sitting import Sitting, one_session
from pipeline.core.errors import InputError
from pipeline.embedding.choice import KEPT
from pipeline.embedding.kept_loss import K
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.settings import EncoderSettings, Precision
from pipeline.embedding.stored import encoder_settings
from pipeline.images.shard_rows import MOST
from pipeline.images.source import Listed, list_source
from pipeline.images.squares import decode_squares
from pipeline.lab.embed_limits import PartsPlan, parts_alone
from pipeline.lab.embed_rivals import RivalRun, embed_by_data_loader, embed_by_imagededup
from pipeline.lab.embed_rounds import (
    RATES,
    EmbedRound,
    OwnRun,
    embed_anew,
    part_rows,
    rate_rows,
    vectors_by_id,
)
from pipeline.lab.pixel_timing import on_one_thread
from pipeline.lab.precision_drift import WAYS, scaled_recall, time_ways
from pipeline.lab.source_images import whole_source

TIMED = 512  # images


def command(config: LabConfig) -> None:
    """Time embedding beside the hardware's limit and common ways.

    First its encoder, and those beside it, run in every way that works here. Then all of SOURCE is
    embedded our way, its first images the others' way, in turn. Rates are images a second on as
    many cores as workers; only steady rates are compared, but where the row says whole.
    """
    wanted = config.bench_embed
    settings = encoder_settings(**config.embed.encoder())
    listed = list_source(**config.source.asked())
    images = whole_source(listed, config.source.shard_rows or MOST).sort_by("id")
    if images["bytes"].null_count or images.num_rows < TIMED:
        where = listed.source.url
        raise InputError(f"{where} needs {TIMED} readable images to time; it lacks them")
    first = images.slice(0, wanted.rival_images)
    for each in (settings, *map(_beside, wanted.beside)):
        _print_ways(each, first, wanted)
    if "torch" not in kind_of(config.embed.model).backends:
        warn(f"the others run on torch, which cannot run {config.embed.model}: left out")
        return
    timed: list[bytes] = images["bytes"].slice(0, TIMED).to_pylist()
    rounds = [_round(config, settings, listed, timed, first) for _ in range(wanted.repeats)]
    parts = ("part", "ms an image", "least", "most")
    title = f"{settings.model}, {settings.input_size} px, {settings.precision}"
    print_table(f"one core alone, {title}", parts, part_rows([r.alone for r in rounds]))
    title = f"one worker of {_cores(config)}, inside sluice embed"
    print_table(title, parts, part_rows([r.inside for r in rounds]))
    rows = rate_rows(rounds, _steady(settings.precision))
    print_table("images a second, median of the repeats", RATES, rows)


def _beside(model: str) -> EncoderSettings:
    return encoder_settings(model, None, None, "auto", "f32", None, None)


def _print_ways(settings: EncoderSettings, first: pa.Table, wanted: BenchEmbedConfig) -> None:
    """Print what every way to run an encoder costs, and which auto may take."""
    size, fit = settings.input_size, settings.transform.fit
    on_one_thread()
    named = first.append_column("key", pa.array([""] * first.num_rows))
    squares = decode_squares(named, size, fit=fit).pixels
    rows, left_out = time_ways(settings, squares, K, wanted.repeats, wanted.batches)
    told = [(*row, "yes" if row[-1] >= KEPT else "no") for row in rows]
    title = f"{settings.model}, {size} px, {len(squares)} images, one thread"
    print_table(title, (*WAYS, f"recall@{K}", f"{KEPT} or more"), told)
    for line in left_out:
        warn(f"left out: {line}")
    kept = scaled_recall(settings, named, squares, K)
    console.print(f"decoded small: {kept:.3f} of the {K} nearest by whole decoding kept")


def _cores(config: Config) -> int:
    return max(1, config.ray.workers)


def _steady(precision: Precision) -> str:
    return f"sluice embed {precision}, steady"


def _round(
    config: Config, settings: EncoderSettings, listed: Listed, timed: list[bytes], first: pa.Table
) -> EmbedRound:
    alone = parts_alone(timed, settings)
    rates = {"limit: parts alone x cores": _cores(config) * 1000 / sum(alone.values())}
    rates["limit: parts alone, all cores busy"] = _busy_rate(config, PartsPlan(timed, settings))
    own = {
        precision: _ours(config, listed, replace(settings, precision=precision))
        for precision in dict.fromkeys((settings.precision, "f32"))
    }
    vectors = {}
    for precision, run in own.items():
        rates[_steady(precision)] = run.record.steady_rate
        rates[f"sluice embed, whole job, {precision}"] = run.record.images / run.seconds
        vectors[_steady(precision)] = run.vectors[: first.num_rows]
    for name, rival in _rivals(config, settings, first).items():
        rates[name], vectors[name] = rival.rate, rival.vectors
    return EmbedRound(rates, vectors, alone, own[settings.precision].parts())


def _busy_rate(config: Config, plan: PartsPlan) -> float:
    cores = _cores(config)
    with Sitting("parts", cores * len(plan.images), config.ray) as sitting:
        answers = list(sitting.spread(plan, range(cores)))
    return float(sum(1000 / answer["ms"][0].as_py() for answer in answers))


def _ours(config: Config, listed: Listed, settings: EncoderSettings) -> OwnRun:
    sitting = Sitting("embed", 0, config.ray, on_gpu=settings.backend == "cuda")
    with tempfile.TemporaryDirectory() as folder:
        root, rows = Path(folder) / "embeddings", config.shard_rows()
        began = time.perf_counter()
        with sitting:
            store = embed_anew(listed, rows, settings, root, sitting.spread, sitting.record)
        seconds = time.perf_counter() - began
        return OwnRun(sitting.record, seconds, vectors_by_id(store))


def _rivals(config: Config, settings: EncoderSettings, first: pa.Table) -> dict[str, RivalRun]:
    images, runs = first["bytes"].to_pylist(), {}
    if config.ray.workers:
        from cluster.lab.ray_data_recipe import embed_by_recipe

        with one_session(config.ray):
            run = embed_by_recipe(first, settings, config.ray.workers)
        runs["Ray Data's recipe, torch eager"] = run
    runs["torch DataLoader loop"] = embed_by_data_loader(images, settings, _cores(config))
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = embed_by_imagededup(images, settings, Path(folder))
            runs["imagededup's CNN encoder"] = run
    except ImportError as error:
        warn(f"left out: imagededup ({error})")
    return runs
