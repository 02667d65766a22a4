"""`sluice bench-stages`: the guide's arithmetic of stages of 1, 10 and 100 ms, emulated."""

from dataclasses import dataclass

import click
import pyarrow as pa

from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, print_table
from pipeline.core.run_record import RunRecord
from pipeline.lab.scaling.emulated_stages import EmulatedStages, passing

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
    whole, busy = {}, {}
    with ray_session(workers, config.ray.address):
        for case in CASES:
            plan = EmulatedStages(images // shards, case.milliseconds, case.keep)
            record = RunRecord("stages", images, workers)
            with record.pool() as stats:
                stats.extend(map_shards(plan, range(shards), workers))
            done = pa.concat_tables(stats)
            spent = done["ended"].to_numpy() - done["started"].to_numpy()
            whole[case.name] = record.seconds["workers at work"]
            busy[case.name] = float(spent.sum()) / workers
    rows = []
    for case in CASES:
        counts = passing(MILLION, case.keep)
        pairs = zip(counts, case.milliseconds, strict=True)
        hours = sum(count * ms for count, ms in pairs) / 1000 / 3600
        rows.append((case.name, busy[case.name], whole[case.name], hours, hours / workers))
    header = ("way", "s a worker", "s, first to last", "1M, one worker, h", f"1M, {workers}, h")
    print_table(
        f"{images} images, {workers} sleeping workers (emulated); 1M calculated", header, rows
    )
    by_work, by_clock = (times[CASES[0].name] / times[CASES[1].name] for times in (busy, whole))
    console.print(
        f"{by_work:.1f} times less work, emulated; {rows[0][3] / rows[1][3]:.1f} calculated; "
        f"{by_clock:.1f} times sooner by the clock, which waits for workers that start late"
    )
