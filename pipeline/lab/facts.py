"""What commands have left in their outputs, as facts for the claims."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.neighbours import CALLED
from pipeline.core.errors import InputError, StoreError
from pipeline.core.folder import Place
from pipeline.core.forecast import Shards, forecast
from pipeline.core.origin import machine
from pipeline.core.run_record import read_runs
from pipeline.core.tables import read_parquet
from pipeline.lab.claims import Fact, bisection_checks
from pipeline.lab.faiss_ways import FAISS_FLAT, FAISS_IVF
from pipeline.lab.growth import KEY, PAIRS, SCAN
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.summary import part
from pipeline.lab.timing import middle_with_interval

MILLION, SHARDS, MS = 1_000_000, 1000, 50.0  # images; shards of them; of the guide's CNN, an image
POOLS = (1, 10, 100)  # the guide's numbers of machines
TEN = 10
BY_INDEX = b"probed"  # how index_loss begins
GROWTH, NEAREST, MERGE = "sluice lab growth", "sluice bench nearest", "sluice bench merge"
SCALE, RECALL, CASCADE = "sluice lab scale", "sluice bench recall", "sluice cascade"
SEARCH, QUERY = "sluice bench search", "sluice search --index"
SCALE_EMBED = f"{SCALE} --workloads embed"
FACTS = {
    "sluice lab claims": ("checks_in_1_million", "checks_in_2_million"),
    GROWTH: ("scan_doubling", "pairs_doubling", "key_doubling", "scan_million", "pairs_million"),
    NEAREST: ("scan_alone", "scan_tenth", "floor", "merge", "latency_of_pool"),
    SCALE: ("image_ms", "rate_1", "rate_most", "most", *(f"seconds_{pool}" for pool in POOLS)),
    SCALE_EMBED: ("embed_image_ms", "embed_rate_1", "embed_rate_most", "embed_most"),
    CASCADE: ("check_ms", "rough_ms", "cnn_ms", "stages_ms", "to_rough", "to_cnn", "plan_recall"),
    RECALL: ("recall_of_1", "recall_of_5"),
    SEARCH: ("scan_ms", "cell_ms", "bucket_ms", "bucket_recall", "checked", "grid_ms", "ivf_ms"),
    MERGE: ("driver_merge", "tree_merge"),
    QUERY: ("query_seconds",),
}
TOLD_BY = {name: command for command, names in FACTS.items() for name in names}
Facts = dict[str, Fact]
TEXTS = ("way", "workload", "mode", "stage", "filter", "neighbours")
POSITIVE = (
    *("vectors", "seconds", "ratio", "latency", "whole_rate", "steady_rate", "ms", "ms, 1 query"),
    *("certified", "tree"),
)


@dataclass(frozen=True)
class Outputs:
    """Where the commands have left what they measured, and the recall asked of the cascade."""

    growth: Place
    nearest: Place
    scale: Place
    cascade: Place
    recall: float
    search: Place
    merge: Place
    query: Place


def read_facts(outputs: Outputs) -> tuple[Facts, list[str]]:
    """Return all facts that are there, and what is wrong with outputs that cannot be used.

    Those give no facts, so that the command which would make them is named.
    """
    readers: list[tuple[Place, Callable[[Place], Facts]]] = [
        (outputs.growth, growth_facts),
        (outputs.nearest, nearest_facts),
        (outputs.scale, scale_facts),
        (outputs.cascade, partial(cascade_facts, recall=outputs.recall)),
        (outputs.cascade, recall_facts),
        (outputs.search, search_facts),
        (outputs.merge, merge_facts),
        (outputs.query, query_facts),
    ]
    facts, wrong = counted_checks(), list[str]()
    for folder, read in readers:
        try:
            elsewhere = _elsewhere(folder)
            facts |= {
                name: replace(fact, how=fact.how + elsewhere) for name, fact in read(folder).items()
            }
        except (StoreError, InputError) as error:
            wrong.append(str(error))
    return facts, list(dict.fromkeys(wrong))


def _elsewhere(folder: Place) -> str:
    """Return on which machine ``folder`` was made last, where it is known and not this one."""
    try:
        made = [run.machine for run in read_runs(folder)[-1:] if run.machine]
    except StoreError:  # the times in a damaged record are lost, not the tables beside it
        return ""
    return f", on another machine ({made[0]})" if made and made[0] != machine() else ""


def counted_checks() -> Facts:
    """Return how many checks bisection makes, counted by doing it."""
    return {
        f"checks_in_{millions}_million": Fact.exact(bisection_checks(millions * MILLION), "counted")
        for millions in (1, 2)
    }


def growth_facts(folder: Place) -> Facts:
    """Return the ratios of twice the vectors, and the seconds of MILLION of them, extrapolated."""
    columns = ["way", "vectors", "ratio", "low", "high"]
    doublings = _rows(folder / "doublings.parquet", columns, GROWTH)
    points = _rows(folder / "points.parquet", ["way", "vectors", "seconds"], GROWTH)
    named = {SCAN: "scan_doubling", PAIRS: "pairs_doubling", KEY: "key_doubling"}
    facts = {
        named[row["way"]]: Fact(
            row["ratio"], f"measured, {row['vectors']:,} made vectors", row["low"], row["high"]
        )
        for row in doublings
        if row["way"] in named
    }
    for way, name, power in ((SCAN, "scan_million", 1), (PAIRS, "pairs_million", 2)):
        last = max((r for r in points if r["way"] == way), key=lambda r: r["vectors"], default=None)
        if last:
            how = f"measured, {last['vectors']:,} made vectors, extrapolated by N^{power}"
            facts[name] = Fact(last["seconds"] * (MILLION / last["vectors"]) ** power, how)
    return facts


def nearest_facts(folder: Place) -> Facts:
    """Return the ms of finding one closest point: alone, and what TEN workers or most make of it.

    ``floor`` is a query's latency where there is nothing to scan.
    """
    timed = ("latency", "share", "floor", "merge")
    columns = [f"{name}{end}" for name in timed for end in ("", "_low", "_high")]
    rows = _rows(folder / "nearest.parquet", ["workers", "points", *columns], NEAREST)
    facts = {}
    for row in rows:
        over = f"measured, {row['points']:,} points"
        told = f"{over}, {row['workers']} workers on one machine"
        if row["workers"] == 0:
            facts["scan_alone"] = _timed(row, "latency", f"{over}, one thread")
        if row["workers"] == TEN:
            facts["scan_tenth"] = _timed(row, "share", f"{over}, a tenth of them alone")
            facts["floor"] = _timed(row, "floor", told)
            facts["merge"] = _timed(row, "merge", told)
            facts["latency_of_pool"] = _timed(row, "latency", told)
    return facts


def _timed(row: dict[str, Any], name: str, how: str) -> Fact:
    return Fact(row[name], how, row[f"{name}_low"], row[f"{name}_high"])


def scale_facts(folder: Place) -> Facts:
    """Return the rates of the runs in ``folder``, and what POOLS would take by their model.

    Raises InputError where the runs are not finished.
    """
    columns = ["workload", "mode", "workers", "whole_rate", "steady_rate"]
    rows = _rows(folder / "runs.parquet", columns, SCALE)
    if not rows:
        return {}
    runs, experiment = pa.Table.from_pylist(rows), Experiment.of(folder)
    ms = ScaleSettings.kept(experiment.store.identity).ms
    facts = _rates(part(runs, "embed", "strong"), "embed_", "measured", 0.0)
    emulated = _rates(part(runs, "emulated", "strong"), "", f"emulated at {ms:g} ms", MS - ms)
    return facts | emulated | (_forecasts(experiment) if emulated else {})


def _rates(runs: pa.Table, name: str, how: str, more: float) -> Facts:
    """Return the whole runs' rates with one worker and with the most, and what an image takes one.

    The latter is in ms, with ``more`` of them added.
    """
    workers = runs["workers"].to_numpy()
    if not len(workers) or workers.min() > 1 or workers.max() == 1:
        return {}
    most, rates = int(workers.max()), runs["whole_rate"].to_numpy()
    middle, low, high = middle_with_interval(1000 / runs["steady_rate"].to_numpy()[workers == 1])
    ends = (None, None) if low is None or high is None else (low + more, high + more)
    facts = {"image_ms": Fact(middle + more, f"{how}, one worker's steady rate", *ends)}
    for fact, count in (("rate_1", 1), ("rate_most", most)):
        rate, low, high = middle_with_interval(rates[workers == count])
        pool = _counted(count, "worker", "workers")
        facts[fact] = Fact(rate, f"{how}, whole runs of {pool}", low, high)
    facts["most"] = Fact.exact(most, how)
    return {name + fact: value for fact, value in facts.items()}


def _forecasts(experiment: Experiment) -> Facts:
    """Return the seconds that POOLS take for MILLION images of MS in SHARDS shards."""
    costs = experiment.calibrated().costs
    jobs = forecast(costs, MILLION, MS, np.array(POOLS), Shards(fixed=SHARDS)).to_pylist()
    how = "extrapolated from emulated runs"
    return {
        f"seconds_{job['workers']}": Fact(job["seconds"], how, job["low"], job["high"])
        for job in jobs
    }


def cascade_facts(folder: Place, recall: float) -> Facts:
    """Return what an image costs each stage, and the funnel of the plan that reaches ``recall``."""
    columns = ["recall", "stage", "share", "ms", "queries"]
    path, facts = folder / "recall_costs.parquet", Facts()
    rows = _rows(path, columns, CASCADE)
    whose = {who.encode(): called for who, called in CALLED.items()}.get(
        _metadata(path, CASCADE).get(b"neighbours", b""), "neighbours"
    )
    for stage, name in (("signature", "check_ms"), ("rough", "rough_ms"), ("cnn", "cnn_ms")):
        found = [row["ms"] for row in rows if row["stage"] == stage]
        if found:
            facts[name] = Fact(found[0], "measured by image, one thread")
    reaching = [row for row in rows if row["recall"] >= recall]
    if reaching:
        asked, queries = reaching[0]["recall"], reaching[0]["queries"]
        plan = [row for row in reaching if row["recall"] == asked]
        batch = _counted(queries, "query", "queries")
        how = f"planned for recall {asked:g} of {whose}, {batch}"
        spent = sum(row["share"] * row["ms"] for row in plan)
        facts["stages_ms"] = Fact(spent, f"{how}, by measured stages")
        shares = {row["stage"]: row["share"] for row in plan}
        facts |= {
            f"to_{stage}": Fact(shares[stage], how) for stage in ("rough", "cnn") if stage in shares
        }
    return facts | _funnel_facts(folder)


def _funnel_facts(folder: Place) -> Facts:
    rows = _rows(folder / "funnel.parquet", ["stage", "entered", "recall_after"], CASCADE)
    if not rows or not rows[0]["entered"]:
        return {}
    how = f"measured, {rows[0]['entered']:,} images, on the calibration's neighbours"
    return {"plan_recall": Fact(rows[-1]["recall_after"], how)}


def recall_facts(folder: Place) -> Facts:
    """Return the recall of keeping 1 % and 5 % of the images by their signatures."""
    columns = ["filter", "neighbours", "keep", "recall", "low", "high"]
    rows = _rows(folder / "filters.parquet", columns, RECALL)
    how = "measured on the calibration's images"
    return {
        f"recall_of_{row['keep']:.0%}".removesuffix("%"): Fact(
            row["recall"], how, row["low"], row["high"]
        )
        for row in rows
        if (row["filter"], row["neighbours"]) == ("learned: signature", "semantic")
        and row["keep"] in (0.01, 0.05)
    }


def search_facts(folder: Place) -> Facts:
    """Return the ms of one query over made vectors: all, one bucket of them, at recall .99.

    Nothing of fewer than MILLION: what a bucket saves grows with their number.
    """
    columns = ["way", "recall", "ms, 1 query", "vectors", "low", "high"]
    enough = _by_way(folder / "compared.parquet", columns)
    one = _by_way(folder / "one_bucket.parquet", [*columns, "checked"])
    facts, ours = Facts(), "sluice ivf"
    named = {
        "scan_ms": one.get(FAISS_FLAT),
        "cell_ms": one.get(FAISS_IVF),
        "bucket_ms": one.get(ours),
        "grid_ms": enough.get(ours),
        "ivf_ms": enough.get(FAISS_IVF),
    }
    for name, row in named.items():
        if row and row["vectors"] == MILLION:
            how = f"measured, {row['vectors']:,} made vectors, {row['way']}"
            told = f"{how}, recall {row['recall']:.3f}"
            facts[name] = Fact(row["ms, 1 query"], told, row["low"], row["high"])
    row = one.get(ours)
    if row and row["vectors"] == MILLION:
        how = f"measured, {row['vectors']:,} made vectors, sampled queries"
        facts["bucket_recall"] = Fact(row["recall"], how)
        facts["checked"] = Fact(row["checked"], how)
    return facts


def _by_way(path: Place, columns: list[str]) -> dict[str, dict[str, Any]]:
    return {row["way"]: row for row in _rows(path, columns, SEARCH)}


def merge_facts(folder: Place) -> Facts:
    """Return the seconds of merging the most shards and queries: on the driver, and by a tree."""
    columns = ["shards", "queries", "k", "certified", "tree"]
    rows = _rows(folder / "merge.parquet", columns, MERGE)
    rows = [row for row in rows if row["tree"] is not None]
    if not rows:
        return {}
    row = max(rows, key=lambda row: (row["shards"], row["queries"], -row["k"]))
    asked = _counted(row["queries"], "query", "queries")
    how = f"measured, {_counted(row['shards'], 'shard', 'shards')}, {asked}"
    return {
        name: Fact(row[column], how)
        for name, column in (("driver_merge", "certified"), ("tree_merge", "tree"))
    }


def query_facts(folder: Place) -> Facts:
    """Return the seconds of the last search, where it was by an index over MILLION images."""
    path = folder / "results.parquet"
    if not path.exists():
        return {}
    told = _metadata(path, QUERY).get(b"loss", b"")
    runs = [run for run in read_runs(folder)[-1:] if run.images >= MILLION]
    if not runs or not told.startswith(BY_INDEX):
        return {}
    how = f"measured, {runs[-1].images:,} images, the program's own start left out"
    return {"query_seconds": Fact(sum(runs[-1].seconds.values()), how)}


def _rows(path: Place, columns: list[str], command: str) -> list[dict[str, Any]]:
    """Return the rows of a table that ``command`` has left; none where it has not run.

    Raises StoreError where the file is damaged, or has not these columns.
    """
    if not path.exists():
        return []
    remedy = f"run {command} again"
    try:
        table = read_parquet(path, remedy, columns)
    except KeyError as error:
        raise StoreError(f"{path} is of another version ({error}); {remedy}") from error
    wrong = [name for name in columns if not _usable(name, table[name])]
    if wrong:
        raise StoreError(f"{path} has no such values in {', '.join(wrong)}; {remedy}")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _usable(name: str, column: pa.ChunkedArray) -> bool:
    """Return whether a column holds what its name says; a time of zero is none."""
    if name in TEXTS:
        return bool(pa.types.is_string(column.type) and not column.null_count)
    if name.endswith(("low", "high")) or name == "tree":
        column = column.drop_null()
    elif column.null_count:
        return False
    if not len(column):
        return True
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return False
    values = column.to_numpy()
    return bool(np.isfinite(values).all() and (name not in POSITIVE or values.min() > 0))


def _metadata(path: Place, command: str) -> dict[bytes, bytes]:
    """Return what a table that ``command`` has left says of itself; nothing where there is none."""
    if not path.exists():
        return {}
    return dict(read_parquet(path, f"run {command} again", []).schema.metadata or {})


def _counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
