"""`sluice lab`: the scaling runs as one page with sliders."""

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute

from jobs.cli import with_config_of
from jobs.console import console
from jobs.lab.config import LabConfig
from jobs.lab.plan import calibrated
from pipeline.core.files import write_atomically
from pipeline.core.tables import read_parquet
from pipeline.lab.page import LabData, in_and_out, render_lab
from pipeline.pages.growth import read_growth


@click.command()
@with_config_of(LabConfig)
def command(config: LabConfig) -> None:
    """Write page.output over scale.output, and over what other jobs have left.

    These are bench_merge.output, growth.output and cascade.output; the page says what is not there.
    """
    calibration, _ = calibrated(config)
    scale = config.scale.output
    data = LabData(
        _required(scale / "runs.parquet", "sluice scale"),
        _required(scale / "laws.parquet", "sluice scale"),
        calibration,
        _left(config.bench_merge.output / "merge.parquet", "sluice bench-merge"),
        read_growth(config.growth.output),
        _funnel(config.cascade.output),
        _left(config.cascade.output / "recall_costs.parquet", "sluice cascade"),
        config.cascade.recall,
    )
    write_atomically(config.page.output.resolve(), render_lab(data).encode())
    console.print(f"lab: {config.page.output}")


def _required(path: Path, command: str) -> pa.Table:
    return read_parquet(path, f"run {command} again")


def _left(path: Path, command: str) -> pa.Table | None:
    return _required(path, command) if path.exists() else None


def _funnel(folder: Path) -> pa.Table | None:
    funnel, results = (
        _left(folder / f"{name}.parquet", "sluice cascade") for name in ("funnel", "results")
    )
    if funnel is None or results is None:
        return None
    return in_and_out(funnel, pa.compute.count_distinct(results["id"]).as_py())
