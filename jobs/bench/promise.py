"""`sluice bench-promise`: how often a promised recall is broken, over many calibrations."""

import click
import numpy as np
from rich.progress import track

from jobs.bench.filters import BOTH
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, print_table, warn
from pipeline.cascade.calibration import Calibration, Neighbours
from pipeline.cascade.calibration_store import STALE, stored_calibration
from pipeline.cascade.planner import StageCosts
from pipeline.core.bounds import lower_bound
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.embedding.stored import encoder_settings
from pipeline.lab.promise_trial import PromiseTrials, Trial


@click.command()
@click.option("--trials", default=200, show_default=True, type=click.IntRange(1))
@click.option("--sample", default=2000, show_default=True, type=click.IntRange(100))
@with_config
def command(config: Config, trials: int, sample: int) -> None:
    """Calibrate TRIALS times on SAMPLE images drawn from the calibration sample of sign.output.

    That sample stands for a collection: give sluice calibrate a large cascade.calibration_images.
    """
    store = Store.open(config.sign.output.resolve(), "signatures")
    stored = stored_calibration(store, encoder_settings(**config.embed.encoder()))
    if not stored.current:
        warn(STALE)
    whole, costs = stored.calibration, stored.costs
    images = whole.sample.num_rows
    if images < 2 * sample:
        raise InputError(
            f"the calibration sample holds {images} images, fewer than {2 * sample}; "
            "calibrate with a larger cascade.calibration_images, or give a smaller --sample"
        )
    rows = []
    for who in BOTH:
        found = _trials(config, whole, who, trials, sample, costs)
        recalls = [trial.recall for trial in found]
        broken = sum(recall < config.cascade.recall for recall in recalls)
        cost = float(np.median([t.plan.milliseconds for t in found]))
        rows.append(
            (
                who,
                broken,
                broken / trials,
                1 - lower_bound(trials - broken, trials, 0.95),
                float(np.median(recalls)),
                min(recalls),
                costs.milliseconds["cnn"] / cost,
                sum(not t.plan.stages for t in found),
            )
        )
    wanted = config.cascade
    header = ("neighbours", "broken", "share", "at most, 95 %", "recall", "least", "speed-up")
    title = (
        f"recall {wanted.recall} promised at {wanted.confidence}, {trials} calibrations on {sample}"
    )
    print_table(f"{title} of {images} images", (*header, "gave up"), rows)
    console.print(
        "speed-up: CNN on all / the plan's expected cost (one query), from the measured stage costs"
    )


def _trials(
    config: Config,
    whole: Calibration,
    who: Neighbours,
    trials: int,
    sample: int,
    costs: StageCosts,
) -> list[Trial]:
    wanted, made = config.cascade, PromiseTrials(whole, who, config.search.k)
    seeds = track(range(trials), f"calibrations, {who}")
    return [made.run(sample, wanted.recall, wanted.confidence, seed, costs) for seed in seeds]
