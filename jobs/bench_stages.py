"""`sluice bench-stages`: the guide's arithmetic of stages of 1, 10 and 100 ms, emulated."""

from dataclasses import dataclass

import click

from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.config import Config
from jobs.console import console, print_table
from jobs.options import with_config
from jobs.run_record import RunRecord
from pipeline.emulated_stages import EmulatedStages, passing

MILLION = 1_000_000
SHARDS_A_WORKER = 4


@dataclass(frozen=True)
class _Case:
    name: str
    milliseconds: tuple[float, ...]
    keep: tuple[float, ...]


CASES = (
    _Case("the CNN on all", (100.0,), ()),
    _Case("metadata, rough, CNN", (1.0, 10.0, 100.0), (0.1, 0.1)),
)


@click.command()
@click.option("--images", default=4000, show_default=True, type=click.IntRange(100))
@with_config
def command(config: Config, images: int) -> None:
    """Let ray.workers sleep as the stages would compute, over IMAGES images that do not exist.

    Each stage passes on a tenth. Nothing here is a measured cost of an image: sleeping is emulated.
    """
    workers = config.ray.workers
    shards = SHARDS_A_WORKER * workers
    seconds = {}
    with ray_session(workers, config.ray.address):
        for case in CASES:
            plan = EmulatedStages(images // shards, case.milliseconds, case.keep)
            record = RunRecord("stages", images, workers)
            with record.pool() as stats:
                stats.extend(map_shards(plan.start, range(shards), workers))
            seconds[case.name] = record.seconds["workers at work"]
    rows = []
    for case in CASES:
        counts = passing(MILLION, case.keep)
        pairs = zip(counts, case.milliseconds, strict=True)
        hours = sum(count * ms for count, ms in pairs) / 1000 / 3600
        rows.append((case.name, seconds[case.name], hours, hours / workers))
    header = (
        "way",
        "seconds, emulated",
        "1M images, one worker, hours",
        f"{workers} workers, hours",
    )
    print_table(f"{images} images of {workers} sleeping workers; 1M calculated", header, rows)
    first, second = (seconds[case.name] for case in CASES)
    console.print(
        f"emulated {first / second:.1f} times faster, calculated {rows[0][2] / rows[1][2]:.1f}"
    )
