"""One timed run of a pool of workers: its phases and rates, from what each shard's worker told."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.core.steady_state import steady_state

RUN_COLUMNS = ("asked", "planned", "began", "finished", "written", "driver_cpu")


@dataclass(frozen=True)
class RunSettings:
    """What was run. ``mode`` is strong (all runs do the same work), weak (it grows) or single."""

    workload: str
    mode: str
    workers: int
    repeat: int
    images: int
    emulated: bool

    @property
    def alone(self) -> bool:
        """Whether it is one thread's, without workers."""
        return self.mode == "single"

    @property
    def name(self) -> str:
        pool = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        by = "one thread, no worker" if self.alone else f"{self.mode}, {pool}"
        return f"{self.workload} {by}"


@dataclass(frozen=True)
class RunPhases:
    """Seconds of wall time of one run, and images a second.

    All a user waits for is in ``wall``: planning the source; start-up, of Ray and of the workers,
    until the first shard is begun; work, until the last one is done; drain, until the driver has
    all answers, certified; writing. The steady state is from when the last worker is warm until the
    first one finds nothing more to do, the tail what work is left then. The merge runs on the
    driver while workers work.
    """

    planning: float
    start_up: float
    work: float
    tail: float
    drain: float
    merge: float
    writing: float
    wall: float
    driver_cpu: float  # s of CPU time that the driver's process took from the workers' start on
    steady_rate: float
    busy: float  # share of the steady state in which a worker was inside a shard
    whole_rate: float  # over ``wall``


def run_phases(tasks: pa.Table) -> RunPhases:
    """Return the phases of a run from its tasks: a row a shard.

    ``tasks`` has rows, worker, started, ended, received (seconds since the epoch), merge (seconds)
    and, equal in all rows, the run's asked, planned, began, finished, written and driver_cpu.
    """
    column = {name: tasks[name].to_numpy() for name in tasks.column_names}
    run = {name: float(column[name][0]) for name in RUN_COLUMNS}
    steady = steady_state(tasks)
    first, last = float(column["started"].min()), float(column["ended"].max())
    wall = run["written"] - run["asked"]
    return RunPhases(
        planning=run["planned"] - run["asked"],
        start_up=first - run["planned"],
        work=last - first,
        tail=last - steady.end,
        drain=run["finished"] - last,
        merge=float(column["merge"].sum()),
        writing=run["written"] - run["finished"],
        wall=wall,
        driver_cpu=run["driver_cpu"],
        steady_rate=steady.rate,
        busy=steady.busy,
        whole_rate=float(column["rows"].sum()) / wall,
    )


def run_row(settings: RunSettings, tasks: pa.Table) -> dict[str, Any]:
    """Return one row of the table of runs: the settings and the phases."""
    return asdict(settings) | asdict(run_phases(tasks)) | {"shards": tasks.num_rows}
