"""`sluice bench promise`: calibrate again and again; is the promised recall kept, and for whom?"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.progress import track

from jobs.console import console, errors, print_arrow, print_not_taken
from jobs.lab.config import LabConfig
from jobs.sitting import Sitting
from pipeline.cascade.calibration import fit_calibration
from pipeline.cascade.costs import measure_costs
from pipeline.cascade.neighbours import CALLED, Neighbours
from pipeline.cascade.on_demand import OnDemandPlan, on_demand_plan
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.sampler import SamplePlan, sample_features, with_embeddings
from pipeline.cascade.shard_signer import signature_identity
from pipeline.cascade.sign_source import sign_source
from pipeline.core.files import write_atomically
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.source import Listed, list_source
from pipeline.lab.filter_recall import BOTH
from pipeline.lab.promise_trial import (
    PromiseTrials,
    clusters,
    draw_rows,
    labels,
    promise_table,
    spread_table,
    trial_table,
)

SEED = 0
COSTS = "costs.json"


def command(config: LabConfig) -> None:
    """Calibrate again and again on samples of SOURCE, and measure the recall each plan gives.

    All of SOURCE is signed and embedded, which a further run finds done. The recall is that of
    images in neither sample, against brute force over all.
    """
    output = config.bench_promise.output.resolve()
    listed, cnn = list_source(**config.source.asked()), encoder_settings(**config.embed.encoder())
    with Sitting("bench promise", 0, config.ray, output, further=True) as sitting:
        signatures = _signed(config, listed, output, sitting)
        plan = on_demand_plan(listed.source, signatures, output / "features", cnn)
        with Store.open(plan.cache, "features").lock():
            features, copies = _features(plan, signatures, sitting)
            trials, costs = _trials(config, features, copies, plan, signatures)
    fit, sample = _samples(config)
    console.print(f"{features.num_rows} images; a calibration embeds {fit} + {sample} of them")
    for who, table in trials.items():
        write_atomically(output / f"{who}.parquet", parquet_bytes(table))
        _print(config, who, table, costs)
    console.print(f"every trial: {', '.join(f'{output}/{who}.parquet' for who in trials)}")


def _samples(config: LabConfig) -> tuple[int, int]:
    return config.calibrate.fit_images, config.calibrate.calibration_images


def _signed(config: LabConfig, listed: Listed, output: Path, sitting: Sitting) -> Store:
    store = Store.create(output / "signatures", "signatures", signature_identity())
    rows, seconds = config.shard_rows(), config.embed.seconds_an_image
    filled = sign_source(store, listed, rows, sitting.spread, sitting.record, seconds)
    print_not_taken(filled, store.root)
    # What is wrong is told before all is embedded.
    draw_rows(store.images(), _samples(config), SEED)
    if config.bench_promise.category:
        labels(store.schema().empty_table(), config.bench_promise.category)
    return store


def _features(plan: OnDemandPlan, signatures: Store, sitting: Sitting) -> tuple[pa.Table, pa.Table]:
    """Return all features of all images, and those of a changed copy of each."""
    by_shard = ids_by_shard(signatures)
    ids = np.sort(np.concatenate(list(by_shard.values())))
    everything = SamplePlan(plan, signatures.root, ids, ids)
    features, copies = sample_features(everything, by_shard, sitting.spreading)
    features = with_embeddings(features)
    there = pa.compute.is_in(copies["origin"], features["id"].combine_chunks())
    return features, copies.filter(there)


def _trials(
    config: LabConfig,
    features: pa.Table,
    copies: pa.Table,
    plan: OnDemandPlan,
    signatures: Store,
) -> tuple[dict[Neighbours, pa.Table], StageCosts]:
    asked, samples = config.bench_promise, _samples(config)
    category = (
        labels(features, asked.category) if asked.category else clusters(features, asked.clusters)
    )
    costs = _costs(plan, signatures, features, copies, samples)
    found: dict[Neighbours, pa.Table] = {}
    for who in BOTH:
        made = PromiseTrials(features, copies, who, config.search.k, category)
        run = made.run(asked.trials, samples, asked.recalls, config.cascade.confidence, costs)
        seen = track(run, f"calibrations, {who}", asked.trials, console=errors)
        found[who] = trial_table([trial for of_one in seen for trial in of_one])
    return found, costs


def _costs(
    plan: OnDemandPlan,
    signatures: Store,
    features: pa.Table,
    copies: pa.Table,
    samples: tuple[int, int],
) -> StageCosts:
    """Return the stages' costs as the first run has timed them: a plan hangs on them."""
    kept = signatures.attached(COSTS)
    if kept is not None:
        return StageCosts(json.loads(kept))
    fit, sample, _ = (pa.array(rows) for rows in draw_rows(features.num_rows, samples, SEED))
    calibration = fit_calibration(features.take(fit), features.take(sample), copies.take(sample))
    costs = measure_costs(plan, signatures, calibration)
    signatures.attach(COSTS, json.dumps(dict(costs.milliseconds), indent=1).encode())
    return costs


def _print(config: LabConfig, who: Neighbours, trials: pa.Table, costs: StageCosts) -> None:
    confidence = config.cascade.confidence
    print_arrow(f"{CALLED[who]}, promised at {confidence}", promise_table(trials, costs))
    print_arrow(f"{CALLED[who]}, the spread of recall", spread_table(trials))
