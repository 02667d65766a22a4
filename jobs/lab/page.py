"""`sluice lab page`: what was measured, and where more workers stop helping, as one page."""

from jobs.console import console
from jobs.lab.config import LabConfig
from jobs.lab.plan import measured_runs
from pipeline.core.files import write_atomically
from pipeline.core.forecast import Shards
from pipeline.core.measured import Measured
from pipeline.core.run_record import read_runs
from pipeline.lab.page import render_lab
from pipeline.lab.page_data import Folders, Job, read_lab_data

IMAGES, MS, WORKERS = 1_000_000, 50.0, 100  # the guide's, where nothing else is asked for


def command(config: LabConfig) -> None:
    """Write one page: a job's time by workers, where more stop helping, and what was measured.

    It stands on your own runs, of sluice lab scale or, with --from, of a job; without any, on those
    measured elsewhere. What is not there yet names the command that makes it.
    """
    folders = Folders(
        scale=config.scale.output.resolve(),
        merge=config.bench_merge.output,
        nearest=config.bench_nearest.output,
        growth=config.growth.output,
        cascade=config.cascade.output,
        claims=config.claims.output,
    )
    measured = measured_runs(config.plan.from_, config.scale.output)
    data = read_lab_data(folders, _job(config, measured), measured, config.cascade.recall)
    write_atomically(config.page.output.resolve(), render_lab(data).encode())
    console.print(f"lab: {config.page.output}")


def _job(config: LabConfig, measured: Measured) -> Job:
    """Return the job asked for, else the one whose run is named, else the guide's."""
    wanted = config.plan
    ran = max((run.images for run in read_runs(wanted.from_)), default=0) if wanted.from_ else 0
    slept = measured.workload == "emulated"
    images = wanted.images or ran or IMAGES
    return Job(
        images=images,
        ms=wanted.ms or (MS if slept else measured.ms),
        workers=min(WORKERS, int(images)),
        shards=Shards(wanted.shards_a_worker),
    )
