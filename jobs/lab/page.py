"""`sluice lab page`: the scaling runs as one page with sliders."""

from jobs.console import console
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.lab.page import render_lab
from pipeline.lab.page_data import read_lab_data


def command(config: LabConfig) -> None:
    """Write one page over the scaling runs, with sliders.

    What sluice bench merge, sluice lab growth and sluice cascade have left is on it too; the page
    says what is not there.
    """
    data = read_lab_data(
        config.scale.output.resolve(),
        config.bench_merge.output,
        config.growth.output,
        config.cascade.output,
        config.cascade.recall,
    )
    write_atomically(config.page.output.resolve(), render_lab(data).encode())
    console.print(f"lab: {config.page.output}")
