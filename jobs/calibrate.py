"""`sluice calibrate`: fit the cheap filters on a sample, and gather the evidence for recall."""

from typing import Any

import numpy as np

from jobs.config import Config
from jobs.console import console, print_by_category, print_table, warn
from jobs.sitting import Sitting
from pipeline.cascade.calibration import Calibration, draw_samples
from pipeline.cascade.calibration_store import (
    calibrated_of,
    is_calibrated,
    keep_calibration,
    stored_calibration,
)
from pipeline.cascade.choice import Goal, plan_for_one
from pipeline.cascade.costs import measure_costs
from pipeline.cascade.on_demand import OnDemandPlan, on_demand_plan
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.sampler import sample_calibration
from pipeline.cascade.taken import take_embedded
from pipeline.core.arrays import Ids
from pipeline.core.errors import StoreError
from pipeline.core.store import Store, ids_by_shard
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import stored_source

SEED = 0


def command(config: Config) -> None:
    """Fit the cheap filters to the CNN and prove their recall.

    Two samples of the signed images are embedded, but for those that ``embed.output`` holds.
    """
    calibrate(config)


def calibrate(config: Config) -> None:
    """Run the job; makes nothing where the same calibration of the same images is there."""
    store = Store.open(config.sign.output.resolve(), "signatures")
    with store.lock():
        _calibrate(config, store)


def _calibrate(config: Config, store: Store) -> None:
    fit, sample = config.calibrate.fit_images, config.calibrate.calibration_images
    by_shard = ids_by_shard(store)
    ids = np.concatenate(list(by_shard.values()))
    cnn = encoder_settings(**config.embed.encoder())
    of = calibrated_of(ids, fit, sample, cnn)
    if is_calibrated(store, of):
        console.print(f"{store.root} is calibrated already, on the same images and settings")
        stored = stored_calibration(store, cnn)
        _print_plan(config, stored.calibration, stored.costs, store.images())
        return
    drawn = draw_samples(ids, fit, sample, SEED)
    source = stored_source(store, config.source.given())
    plan = on_demand_plan(source, store, config.cascade.features.resolve(), cnn)
    images = sum(len(part) for part in drawn)
    with (
        Store.open(plan.cache, "features").lock(),
        Sitting(
            "calibrate", images, config.ray, plan.cache, further=True, on_gpu=plan.on_gpu
        ) as sitting,
    ):
        with sitting.stage("take what is embedded"):
            taken = _take_embedded(config, plan, by_shard, np.concatenate(drawn))
        calibration = sample_calibration(
            store, plan, *drawn, by_shard, sitting.spreading, sitting.record
        )
        with sitting.stage("measure the stages' costs"):
            costs = sitting.near_gpu(plan.backend, lambda: measure_costs(plan, store, calibration))
        with sitting.stage("write"):
            keep_calibration(store, calibration, costs, of)
    told = (f"of these by sluice embed before, in {config.embed.output}", taken)
    _print(store, calibration, costs, len(drawn[0]), config.search.k, told)
    _print_plan(config, calibration, costs, store.images())


def _take_embedded(
    config: Config, plan: OnDemandPlan, by_shard: dict[int, Ids], wanted: Ids
) -> int:
    try:
        return take_embedded(plan, config.embed.output.resolve(), by_shard, wanted)
    except StoreError as error:  # they are made anew
        warn(f"nothing is taken from {config.embed.output}: {error}")
        return 0


def _print(
    store: Store,
    calibration: Calibration,
    costs: StageCosts,
    fit: int,
    k: int,
    taken: tuple[str, int],
) -> None:
    rows: list[tuple[str, Any]] = [
        ("images embedded to fit the filters", fit),
        ("images embedded to prove recall", calibration.sample.num_rows),
        taken,
        ("changed copies made of them", calibration.copies.num_rows),
        (f"of an image's {k} nearest, there on average", calibration.held(k, store.images())),
    ]
    rows += [(f"{name}, ms an image", cost) for name, cost in costs.milliseconds.items()]
    print_table(f"calibration: {store.root}", ("what", "value"), rows)


def _print_plan(config: Config, calibration: Calibration, costs: StageCosts, images: int) -> None:
    """Print what `sluice cascade` of the same settings would promise a single query."""
    asked = config.cascade.goal() | {"where": ()}  # a predicate may be asked of columns to come
    goal = Goal(**asked, k=config.search.k, workers=config.ray.workers)
    choice = plan_for_one(calibration, costs, goal, images)
    print_by_category(choice.by_category, goal.confidence)
    if not choice.plan.stages:
        console.print(f"no cascade is proved to reach recall {goal.recall}: all will be compared")
