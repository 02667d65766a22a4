"""`sluice calibrate`: fit the cheap filters on a sample, and gather the evidence for recall."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.gpu_call import call_near_gpu
from cluster.session import gpu_share, ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, errors, print_table, track
from pipeline.cascade.calibration import (
    Calibration,
    draw_samples,
    fit_calibration,
    keep_calibration,
    read_calibration,
)
from pipeline.cascade.costs import measure_costs
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.rough import rough_settings
from pipeline.cascade.sampler import SamplePlan
from pipeline.core.errors import StoreError
from pipeline.core.files import checksum
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import ipc_table, places
from pipeline.embedding.shard_embedder import embedding_identity
from pipeline.embedding.stored import encoder_settings, stored_encoder
from pipeline.images.manifest import read_manifest
from pipeline.images.source import open_source

RECORD = "calibration"
SEED = 0
FEW = 64


@click.command()
@with_config
def command(config: Config) -> None:
    """Embed two samples of the signed images; fit the filters and keep the evidence."""
    calibrate(config)


def calibrate(config: Config) -> None:
    """Run the job; does nothing where the same calibration of the same images is there."""
    store = Store.open(config.sign.output.resolve(), "signatures")
    with store.lock():
        _calibrate(config, store)


def _calibrate(config: Config, store: Store) -> None:
    by_shard = ids_by_shard(store)
    ids = np.concatenate(list(by_shard.values()))
    wanted = _wanted(config, ids)
    if (_record(store) or {}).get("of") == wanted:
        console.print(f"{store.root} is calibrated already, on the same images and settings")
        return
    record = RunRecord("calibrate", 0, config.ray.workers)
    fit_ids, sample_ids = draw_samples(
        ids, config.cascade.fit_images, config.cascade.calibration_images, SEED
    )
    plan = on_demand_plan(config, store)
    features_store = Store.open(plan.cache, "features")
    with features_store.lock():
        calibration = _calibration(config, store, plan, fit_ids, sample_ids, by_shard, record)
        with record.stage("measure the stages' costs"):
            costs = call_near_gpu(
                plan.encoders["cnn"].settings.backend,
                lambda: measure_costs(plan, store, calibration),
                config.ray.address,
            )
    with record.stage("write"):
        keep_calibration(store, calibration)
        made = {"of": wanted, "milliseconds": dict(costs.milliseconds)}
        store.attach(RECORD, json.dumps(made, indent=1).encode())
    record.save(plan.cache, further=True)
    _print_summary(store, calibration, costs, len(fit_ids))


def _wanted(config: Config, ids: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "images": checksum(np.sort(ids).tobytes()),
        "fit_images": config.cascade.fit_images,
        "calibration_images": config.cascade.calibration_images,
        "cnn": embedding_identity(encoder_settings(**config.embed.encoder())),
    }


def _record(store: Store) -> dict[str, Any] | None:
    data = store.attached(RECORD)
    found: dict[str, Any] | None = json.loads(data) if data else None
    return found


def on_demand_plan(config: Config, signatures: Store) -> OnDemandPlan:
    """Return what workers need to make features; opens the cache, refusing another model's."""
    source = open_source(config.source.url, config.source.kind)
    manifest = read_manifest(signatures)
    settings = encoder_settings(**config.embed.encoder())
    made = {"cnn": settings, "rough": rough_settings(settings)}
    identity = {name: embedding_identity(s) for name, s in made.items()}
    cache = Store.create(config.cascade.features.resolve(), "features", identity)
    cache.finish(0)  # what is attached is all it holds; verify takes only finished stores
    with cache.lock():
        encoders = {name: stored_encoder(cache, s) for name, s in made.items()}
    return OnDemandPlan(source, manifest, cache.root, encoders)


def sample_features(
    config: Config,
    store: Store,
    plan: OnDemandPlan,
    ids: np.ndarray[Any, Any],
    copied: np.ndarray[Any, Any],
    by_shard: dict[int, np.ndarray[Any, Any]],
    record: RunRecord,
) -> tuple[pa.Table, pa.Table]:
    """Return all features of ``ids``, and of a copy of each of ``copied``, made where missing.

    A few are made on the driver, sooner than workers would have started.
    """
    shards = [shard for shard, there in by_shard.items() if np.isin(there, ids).any()]
    sampled = SamplePlan(plan, store.root, np.sort(ids), np.sort(copied))
    on_gpu = plan.encoders["cnn"].settings.backend == "cuda"
    with record.pool() as stats, ray_session(config.ray.workers, config.ray.address):
        if len(ids) <= FEW and not on_gpu:
            results: Iterable[pa.Table] = map(sampled.start(), shards)
        else:
            gpus = gpu_share(config.ray.workers) if on_gpu else 0.0
            results = map_shards(sampled, shards, config.ray.workers, gpus)
        stats.extend(track(results, "features of a sample", len(ids), "img"))
    features, copies = (
        pa.concat_tables([ipc_table(table[name][0].as_py()) for table in stats])
        for name in ("features", "copies")
    )
    return features.sort_by("id"), copies.sort_by("origin")


def _calibration(
    config: Config,
    store: Store,
    plan: OnDemandPlan,
    fit_ids: np.ndarray[Any, Any],
    sample_ids: np.ndarray[Any, Any],
    by_shard: dict[int, np.ndarray[Any, Any]],
    record: RunRecord,
) -> Calibration:
    ids = np.concatenate([fit_ids, sample_ids])
    record.images = len(ids)
    features, copies = sample_features(config, store, plan, ids, sample_ids, by_shard, record)
    fit, sample = (_rows(features, "id", chosen) for chosen in (fit_ids, sample_ids))
    copies = _rows(copies, "origin", sample_ids)
    with record.stage("fit the filters"):
        return fit_calibration(fit, sample, copies)


def _rows(table: pa.Table, column: str, ids: np.ndarray[Any, Any]) -> pa.Table:
    """Return the rows of ``ids`` in their drawn order, which shards and workers cannot change."""
    return table.take(pa.array(places(ids, table[column].to_numpy())))


def _print_summary(store: Store, calibration: Calibration, costs: StageCosts, fit: int) -> None:
    rows: list[tuple[str, Any]] = [
        ("images embedded to fit the filters", fit),
        ("images embedded to prove recall", calibration.sample.num_rows),
        ("changed copies made of them", calibration.copies.num_rows),
    ]
    rows += [(f"{name}, ms an image", cost) for name, cost in costs.milliseconds.items()]
    print_table(f"calibration: {Path(store.root)}", ("what", "value"), rows)


def stored_calibration(config: Config, store: Store) -> tuple[Calibration, StageCosts]:
    """Return the calibration and its costs, with a warning where the images are others by now.

    Raises StoreError where there is none, or where it was made for another CNN.
    """
    calibration, record = read_calibration(store), _record(store) or {}
    wanted = _wanted(config, np.concatenate(list(ids_by_shard(store).values())))
    if record["of"]["cnn"] != json.loads(json.dumps(wanted["cnn"])):
        raise StoreError(
            f"{store.root} is calibrated for another CNN; use the same embed settings, or run "
            "sluice calibrate again"
        )
    if record["of"]["images"] != wanted["images"]:
        errors.print(
            "[yellow]calibrated before images came or went:[/] what is said of recall holds for "
            "the images of that time; run sluice calibrate again"
        )
    return calibration, StageCosts(record["milliseconds"])
