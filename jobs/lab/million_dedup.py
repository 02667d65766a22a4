"""`sluice lab million-dedup`: a million synthetic vectors joined in one sitting."""

import time
from pathlib import Path

import click

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console
from jobs.dedup import dedup
from jobs.sitting import Sitting, one_session
from jobs.usage import print_usage
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(2000))
@click.option("--dimensions", default=256, show_default=True, type=click.IntRange(8))
@click.option("--output", default=Path("work/million-dedup"), type=click.Path(path_type=Path))
@with_config
def command(config: Config, rows: int, dimensions: int, output: Path) -> None:
    """Make ROWS synthetic vectors, a tenth of them near-copies of others, and find the pairs."""
    output = output.resolve()
    settings = SyntheticSettings(rows, max(1000, rows // 50), dimensions, max(10, rows // 200))
    update = {
        "embed": config.embed.model_copy(update={"output": output / "embeddings"}),
        "dedup": config.dedup.model_copy(update={"output": output / "dedup"}),
    }
    with one_session(config.ray):
        with Sitting("make vectors", 0, config.ray) as sitting:
            synthetic_store(output / "embeddings", settings, sitting.spread, sitting.record)
        began = time.perf_counter()
        dedup(config.model_copy(update=update))
    seconds = time.perf_counter() - began
    print_usage((output / "embeddings", output / "dedup"))
    console.print(f"{rows:,} synthetic vectors x {dimensions} joined in {seconds:.0f} s")
