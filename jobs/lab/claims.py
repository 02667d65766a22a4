"""`sluice claims`: the guide's numbers, their own arithmetic, and what was measured here."""

from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq

from jobs.cli import with_config_of
from jobs.console import print_table
from jobs.lab.config import LabConfig
from jobs.lab.plan import calibrated
from pipeline.core.tables import read_parquet
from pipeline.lab.claims import Fact, bisection_checks, check_claims, read_claims
from pipeline.lab.faiss_ways import FAISS_FLAT
from pipeline.lab.scaling.simulator import simulate
from pipeline.lab.scaling.summary import part

CLAIMS = Path(__file__).parents[2] / "configs" / "claims.yaml"
IMAGES, SHARD_IMAGES = 1_000_000, 1000
SCALE, CASCADE, SEARCH = "sluice scale", "sluice cascade", "sluice bench-search"
TOLD_BY = {
    "emulated_rate": SCALE,
    "simulated_100_workers": SCALE,
    "check_ms": CASCADE,
    "cnn_ms": CASCADE,
    "stages_ms": CASCADE,
    "scan_ms": SEARCH,
    "grid_ms": SEARCH,
    "one_bucket_ms": SEARCH,
}


@click.command()
@click.option("--claims", type=click.Path(path_type=Path), default=CLAIMS, help="A list of claims.")
@with_config_of(LabConfig)
def command(config: LabConfig, claims: Path) -> None:
    """Print every claim beside its arithmetic and this machine.

    Uses what sluice scale, sluice cascade and sluice bench-search have left in their outputs.
    """
    facts = (
        counted_checks()
        | scale_facts(config)
        | cascade_facts(config)
        | search_facts(config.bench_search.output)
    )
    rows = check_claims(read_claims(claims), facts, TOLD_BY)
    lines = [
        (row.claim, row.unit, _text(row.claimed), _text(row.arithmetic), _text(row.here), row.how)
        for row in rows
    ]
    print_table("claims", ("claim", "unit", "claimed", "arithmetic", "here", "how"), lines)


def counted_checks() -> dict[str, Fact]:
    """Return how many checks bisection makes, counted by doing it."""
    return {
        f"checks_in_{millions}_million": Fact(bisection_checks(millions * 1_000_000), "measured")
        for millions in (1, 2)
    }


def scale_facts(config: LabConfig) -> dict[str, Fact]:
    """Return the emulated rate of one worker and a simulated pool, where sluice scale has run."""
    runs = config.scale.output / "runs.parquet"
    if not runs.exists():
        return {}
    strong = part(pq.read_table(runs), "emulated", "strong")
    alone = strong.filter(np.asarray(strong["workers"]) == 1)
    if not alone.num_rows:
        return {}
    rate = float(np.median(alone["steady_rate"].to_numpy()))
    shards = [SHARD_IMAGES / rate] * (IMAGES // SHARD_IMAGES)
    many = simulate(calibrated(config)[0], 100, shards).wall
    return {
        "emulated_rate": Fact(rate, "emulated rate, extrapolated"),
        "simulated_100_workers": Fact(many, "extrapolated by simulation"),
    }


def cascade_facts(config: LabConfig) -> dict[str, Fact]:
    """Return what the stages cost an image, alone and in the cascade of the recall asked for."""
    path = config.cascade.output / "recall_costs.parquet"
    if not path.exists():
        return {}
    rows = read_parquet(path, f"run {CASCADE} again").to_pylist()
    milliseconds = {row["stage"]: row["ms"] for row in rows}
    named = {"check_ms": "signature", "cnn_ms": "cnn"}
    facts = {
        fact: Fact(milliseconds[stage], "measured by image, extrapolated")
        for fact, stage in named.items()
        if stage in milliseconds
    }
    wanted = [row for row in rows if row["recall"] >= config.cascade.recall]
    if wanted:
        asked = wanted[0]["recall"]
        spent = sum(row["share"] * row["ms"] for row in wanted if row["recall"] == asked)
        how = f"calculated from measured stages, {wanted[0]['queries']:,} queries, recall {asked}"
        facts["stages_ms"] = Fact(spent, how)
    return facts


def search_facts(folder: Path) -> dict[str, Fact]:
    """Return the times of one query over IMAGES vectors, where bench-search has measured them."""
    paths = [folder / f"{name}.parquet" for name in ("compared", "curve")]
    if not all(path.exists() for path in paths):
        return {}
    compared, curve = (read_parquet(path, f"run {SEARCH} again").to_pylist() for path in paths)
    rows = {
        "scan_ms": [row for row in compared if row["way"] == FAISS_FLAT],
        "grid_ms": [row for row in compared if row["way"] == "sluice ivf"],
        "one_bucket_ms": [r for r in curve if r["way"] == "sluice ivf" and r["probes"] == 1],
    }
    return {
        name: Fact(row["ms, 1 query"], f"measured, synthetic, recall@10 {row['recall']:.3f}")
        for name, found in rows.items()
        for row in found[:1]
        if row["vectors"] == IMAGES
    }


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
