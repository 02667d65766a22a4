"""`sluice bench recall`: what every cheap filter keeps, and whether a promised recall is kept."""

from rich.progress import track

from jobs.config import CascadeConfig
from jobs.console import console, errors, print_arrow, warn
from jobs.lab.config import BenchRecallConfig, LabConfig
from pipeline.cascade.calibration_store import STALE, StoredCalibration, stored_calibration
from pipeline.cascade.neighbours import CALLED
from pipeline.core.errors import InputError
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.lab.charts import filter_page
from pipeline.lab.filter_recall import BOTH, all_filters, by_share, filter_recall
from pipeline.lab.promise_trial import PromiseTrials, promise_table


def command(config: LabConfig) -> None:
    """Recall of every cheap filter by what it keeps, and how often a promised one is broken.

    All on the calibration sample of sign.output. It stands for a whole collection in the trials,
    each of which calibrates on some of it: give sluice calibrate a large --calibration-images.
    """
    store = Store.open(config.sign.output.resolve(), "signatures")
    stored = stored_calibration(store, encoder_settings(**config.embed.encoder()))
    if not stored.current:
        warn(STALE)
    wanted, images = config.bench_recall, stored.calibration.sample.num_rows
    if wanted.trials and images < 2 * wanted.sample:
        raise InputError(
            f"the calibration sample holds {images} images, fewer than {2 * wanted.sample}; "
            "calibrate with a larger --calibration-images, or give a smaller --sample, or "
            "--trials 0 for the filters alone"
        )
    _filters(config, stored, images / store.images())
    if wanted.trials:
        _promises(config.cascade, wanted, stored, config.search.k)


def _filters(config: LabConfig, stored: StoredCalibration, share: float) -> None:
    calibration, output = stored.calibration, config.cascade.output.resolve()
    found = {who: filter_recall(calibration, who, config.search.k, share) for who in BOTH}
    for who, table in found.items():
        images = calibration.sample.num_rows
        print_arrow(f"recall of {CALLED[who]}, by share kept of {images} images", by_share(table))
    write_atomically(output / "filters.parquet", parquet_bytes(all_filters(found)))
    write_atomically(output / "filters.html", filter_page(found).encode())
    console.print(f"{output}/filters.parquet, {output}/filters.html")


def _promises(
    asked: CascadeConfig, wanted: BenchRecallConfig, stored: StoredCalibration, k: int
) -> None:
    costs, trials = stored.costs, {}
    for who in BOTH:
        run = PromiseTrials(stored.calibration, who, k).run
        trials[who] = [
            run(wanted.sample, asked.recall, asked.confidence, seed, costs)
            for seed in track(range(wanted.trials), f"calibrations, {who}", console=errors)
        ]
    images = stored.calibration.sample.num_rows
    calibrations = f"{wanted.trials} calibrations on {wanted.sample} of {images} images"
    title = f"recall {asked.recall} promised at {asked.confidence}, {calibrations}"
    print_arrow(title, promise_table(trials, asked.recall, costs))
    console.print(
        "speed-up: CNN on all / the plan's expected cost (one query), from the measured stage costs"
    )
