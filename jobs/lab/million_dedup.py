"""`sluice lab million-dedup`: a million synthetic vectors joined in one sitting."""

import time

from jobs.console import console
from jobs.dedup import dedup
from jobs.lab.config import LabConfig
from jobs.sitting import Sitting, one_session
from jobs.usage import print_usage
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store


def command(config: LabConfig) -> None:
    """Join 1,000,000 synthetic vectors, a tenth of them near-copies of others."""
    wanted = config.million_dedup
    rows, dimensions, output = wanted.rows, wanted.dimensions, wanted.output.resolve()
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
