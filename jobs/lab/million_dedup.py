"""`sluice million-dedup`: a million synthetic vectors joined in one sitting."""

import time
from pathlib import Path

import click

from cluster.session import ray_session
from jobs.bench.search import synthetic_store
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console
from jobs.dedup import dedup
from jobs.usage import print_usage
from pipeline.lab.synthetic_vectors import SyntheticSettings


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
    with ray_session(config.ray.workers, config.ray.address):
        synthetic_store(config, output / "embeddings", settings)
        began = time.perf_counter()
        dedup(config.model_copy(update=update))
    seconds = time.perf_counter() - began
    print_usage((output / "embeddings", output / "dedup"))
    console.print(f"{rows:,} synthetic vectors x {dimensions} joined in {seconds:.0f} s")
