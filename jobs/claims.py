"""`sluice claims`: the guide's numbers, their own arithmetic, and what was measured here."""

from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq

from jobs.config import Config
from jobs.console import print_table
from jobs.options import with_config
from jobs.plan import calibrated
from pipeline.claims import Fact, bisection_checks, check_claims, read_claims
from pipeline.scaling_simulator import simulate
from pipeline.scaling_summary import part

CLAIMS = Path(__file__).parent.parent / "configs" / "claims.yaml"
IMAGES, SHARD_IMAGES = 1_000_000, 1000


@click.command()
@click.option("--claims", type=click.Path(path_type=Path), default=CLAIMS, help="A list of claims.")
@with_config
def command(config: Config, claims: Path) -> None:
    """Print every claim beside its arithmetic and this machine; uses the runs of sluice scale."""
    rows = check_claims(read_claims(claims), measured_facts(config))
    lines = [
        (row.claim, row.unit, _text(row.claimed), _text(row.arithmetic), _text(row.here), row.how)
        for row in rows
    ]
    print_table("claims", ("claim", "unit", "claimed", "arithmetic", "here", "how"), lines)


def measured_facts(config: Config) -> dict[str, Fact]:
    """Return what this machine knows: bisection always, rates where sluice scale has run."""
    facts = {
        f"checks_in_{millions}_million": Fact(bisection_checks(millions * 1_000_000), "measured")
        for millions in (1, 2)
    }
    runs = config.scale.output / "runs.parquet"
    if not runs.exists():
        return facts
    strong = part(pq.read_table(runs), "emulated", "strong")
    alone = strong.filter(np.asarray(strong["workers"]) == 1)
    if not alone.num_rows:
        return facts
    rate = float(np.median(alone["steady_rate"].to_numpy()))
    shards = [SHARD_IMAGES / rate] * (IMAGES // SHARD_IMAGES)
    many = simulate(calibrated(config)[0], 100, shards).wall
    facts["emulated_rate"] = Fact(rate, "emulated rate, extrapolated")
    facts["simulated_100_workers"] = Fact(many, "extrapolated by simulation")
    return facts


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
