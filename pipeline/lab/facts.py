"""What commands have measured on this machine, as facts for the claims."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.core.tables import read_parquet
from pipeline.lab.claims import Fact, bisection_checks
from pipeline.lab.faiss_ways import FAISS_FLAT
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.scaling.simulator import simulate
from pipeline.lab.scaling.summary import part

IMAGES, SHARD_IMAGES = 1_000_000, 1000
SCALE, CASCADE, SEARCH = "sluice lab scale", "sluice cascade", "sluice bench search"
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


def counted_checks() -> dict[str, Fact]:
    """Return how many checks bisection makes, counted by doing it."""
    return {
        f"checks_in_{millions}_million": Fact(bisection_checks(millions * 1_000_000), "measured")
        for millions in (1, 2)
    }


def scale_facts(folder: Path) -> dict[str, Fact]:
    """Return the emulated rate of one worker and a simulated pool, of the runs in ``folder``.

    Nothing where there are none. Raises InputError where the runs are not finished.
    """
    runs = folder / "runs.parquet"
    if not runs.exists():
        return {}
    strong = part(pq.read_table(runs), "emulated", "strong")
    alone = strong.filter(np.asarray(strong["workers"]) == 1)
    if not alone.num_rows:
        return {}
    rate = float(np.median(alone["steady_rate"].to_numpy()))
    shards = [SHARD_IMAGES / rate] * (IMAGES // SHARD_IMAGES)
    many = simulate(Experiment.of(folder).calibrated().costs, 100, shards).wall
    return {
        "emulated_rate": Fact(rate, "emulated rate, extrapolated"),
        "simulated_100_workers": Fact(many, "extrapolated by simulation"),
    }


def cascade_facts(folder: Path, recall: float) -> dict[str, Fact]:
    """Return what the stages cost an image, alone and in the cascade that reaches ``recall``.

    Nothing where no cascade has left its costs in ``folder``. Raises StoreError where the file is
    damaged.
    """
    path = folder / "recall_costs.parquet"
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
    reaching = [row for row in rows if row["recall"] >= recall]
    if reaching:
        asked = reaching[0]["recall"]
        spent = sum(row["share"] * row["ms"] for row in reaching if row["recall"] == asked)
        how = f"calculated from measured stages, {reaching[0]['queries']:,} queries, recall {asked}"
        facts["stages_ms"] = Fact(spent, how)
    return facts


def search_facts(folder: Path) -> dict[str, Fact]:
    """Return the times of one query over IMAGES vectors, where ``folder`` holds them.

    Raises StoreError where a file is damaged.
    """
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
