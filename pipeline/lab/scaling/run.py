"""One timed run of a pool of workers: its phases and rates, from what each shard's worker told."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.core.steady_state import steady_state


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
    def name(self) -> str:
        return f"{self.workload} {self.mode}, {self.workers} workers, repeat {self.repeat}"


@dataclass(frozen=True)
class RunPhases:
    """Seconds of wall time of one run, and images a second.

    Start-up ends when the first shard is begun; the steady state is from when the last worker is
    warm until the first one finds nothing more to do; the tail is the rest of the work; drain is
    from the last shard's end until the driver has all answers, certified.
    The merge runs on the driver while workers work.
    """

    session: float
    start_up: float
    work: float
    tail: float
    drain: float
    merge: float
    wall: float
    steady_rate: float
    busy: float  # share of the steady state in which a worker was inside a shard
    whole_rate: float  # over everything but starting Ray itself


def run_phases(tasks: pa.Table) -> RunPhases:
    """Return the phases of a run from its tasks: a row a shard.

    ``tasks`` has rows, worker, started, ended, received (seconds since the epoch), merge (seconds)
    and the run's began, session_began and finished, equal in all rows.
    """
    column = {name: tasks[name].to_numpy() for name in tasks.column_names}
    began, finished = column["began"][0], column["finished"][0]
    steady = steady_state(tasks)
    first, last = column["started"].min(), column["ended"].max()
    return RunPhases(
        session=began - column["session_began"][0],
        start_up=first - began,
        work=last - first,
        tail=last - steady.end,
        drain=finished - last,
        merge=float(column["merge"].sum()),
        wall=finished - began,
        steady_rate=steady.rate,
        busy=steady.busy,
        whole_rate=float(column["rows"].sum()) / (finished - began),
    )


def run_row(settings: RunSettings, tasks: pa.Table) -> dict[str, Any]:
    """Return one row of the table of runs: the settings and the phases."""
    return asdict(settings) | asdict(run_phases(tasks)) | {"shards": tasks.num_rows}
