"""What more workers would have made of a job that has run, from its own record."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.core.forecast import PoolCosts, Shards, counted, forecast, readable, stops_helping
from pipeline.core.measured import Measured, read_measured
from pipeline.core.run_record import RunRecord

POOLS = (4, 16, 64)
WORTH_TELLING = 10.0  # seconds of work: of less, in this process, more workers would only start
WORK = {
    "embed": "embedding",
    "sign": "signing",
    "search": "searching",
    "cascade": "the stages",
    "dedup": "joining",
}
CUT_ANEW = ("embed", "sign")  # for other numbers of workers; the others have the store's shards
MERGE = "merge on the driver, meanwhile"  # it hides behind the workers' work
BY_WORKERS = ("start-up of workers", "workers at work", "drain")
SPREAD = ("sort by partition", "measure the recall")  # stages that pools of their own do
LAST = ("write", "keys", "group", "map the rows", "measure the precision")


@dataclass(frozen=True)
class MeasuredRun:
    """A run's own costs, with the images they are of."""

    images: int
    measured: Measured


def measured_of_run(run: RunRecord) -> MeasuredRun | None:
    """Return what a pool costs by one job's record; None where no shard was done.

    A run without Ray knows of no pool's start-up and turns: those are as shipped.
    """
    if not run.shards or not run.images or run.job not in WORK:
        return None
    fixed = {
        name: s for name, s in run.seconds.items() if name not in (*BY_WORKERS, MERGE, *SPREAD)
    }
    writing = sum(seconds for name, seconds in fixed.items() if name in LAST)
    planning = sum(fixed.values()) - writing
    listed = fixed.get("source manifest", 0.0)  # grows with the images; a model is converted once
    costs = PoolCosts(
        start_up=run.seconds.get("start-up of workers", 0.0),
        start_up_a_worker=0.0,
        overhead=0.0,
        merge=run.seconds.get(MERGE, 0.0) / run.shards,
        drain=run.seconds.get("drain", 0.0),
        stragglers=tuple(run.stragglers) or (1.0,),
        wait=run.wait,
        planning=planning - listed,
        planning_an_image=listed / run.images,
        writing=writing,
    )
    if not run.in_pool:
        pool = read_measured().costs
        names = ("start_up", "start_up_a_worker", "overhead", "wait")
        costs = replace(costs, **{name: getattr(pool, name) for name in names})
    ms = 1000 * run.busy / run.images
    made = run.machine, run.ended[:10], run.version, f"sluice {run.job}"
    return MeasuredRun(run.images, Measured(run.job, costs, ms, *made))


def more_workers(run: RunRecord) -> dict[str, Any]:
    """Return what POOLS of workers would have taken, and where they stop helping; extrapolated.

    ``pools`` are rows of FORECAST, ``stops`` is a Stop. Empty where no shard was done, and where
    less than WORTH_TELLING was done in this process.
    """
    found = measured_of_run(run) if run.in_pool or run.busy > WORTH_TELLING else None
    if not found:
        return {}
    costs, ms = found.measured.costs, found.measured.ms
    shards = Shards() if run.job in CUT_ANEW else Shards(fixed=run.shards)
    pools = forecast(costs, run.images, ms, POOLS, shards).to_pylist()
    stops = stops_helping(costs, run.images, ms, shards, WORK[run.job])
    return {"pools": pools, "stops": asdict(stops), "own_start_up": run.in_pool}


def more_workers_told(run: RunRecord) -> list[str]:
    """Return ``more_workers``, as the record has it, in two lines; none where it has nothing."""
    found = run.more_workers
    if not found:
        return []
    times = [readable(row["seconds"]) for row in found["pools"]]
    pools = ", ".join(str(row["workers"]) for row in found["pools"])
    start_up = "" if found["own_start_up"] else "; Ray's start as measured elsewhere"
    stops = found["stops"]
    where = "more workers go on helping"
    if stops["workers"] is not None:
        pool, seconds = counted(stops["workers"]), readable(stops["seconds"])
        where = f"they stop helping at {pool} ({seconds})"
    return [
        f"with {pools} workers: {', '.join(times)} (extrapolated from this run{start_up})",
        f"{where}: {stops['reason']}",
    ]
