"""`sluice lab`: the scaling runs as one page with sliders."""

import click
import pyarrow.parquet as pq

from jobs.config import Config
from jobs.console import console
from jobs.options import with_config
from jobs.plan import calibrated
from pipeline.lab_page import LabData, render_lab
from pipeline.store import write_atomically


@click.command()
@with_config
def command(config: Config) -> None:
    """Write lab.output over scale.output, and bench_merge.output where there is one."""
    calibration, _ = calibrated(config)
    merge = config.bench_merge.output / "merge.parquet"
    runs, laws = (pq.read_table(config.scale.output / f"{n}.parquet") for n in ("runs", "laws"))
    data = LabData(runs, laws, calibration, pq.read_table(merge) if merge.exists() else None)
    write_atomically(config.lab.output.resolve(), render_lab(data).encode())
    console.print(f"lab: {config.lab.output}")
