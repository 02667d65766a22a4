"""What the lab's page shows, read from what the commands that measure have left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.core.folder import Place
from pipeline.core.forecast import Shards
from pipeline.core.measured import Measured
from pipeline.core.more_workers import WORK
from pipeline.core.run_record import read_runs
from pipeline.core.tables import read_parquet
from pipeline.pages.growth import Growth, read_growth

SCALE, GROWTH, CASCADE = "sluice lab scale", "sluice lab growth", "sluice cascade"
MERGE, NEAREST = "sluice bench merge", "sluice bench nearest"
CLAIMS = "sluice lab claims"
WORDS_OF_WORK = WORK | {"emulated": "embedding", "join": "joining"}


@dataclass(frozen=True)
class Folders:
    """Where the commands have left what the page shows."""

    scale: Place
    merge: Place
    nearest: Place
    growth: Place
    cascade: Place
    claims: Place


@dataclass(frozen=True)
class Made:
    """What made a part of the page: the command, the day, the version and the machine."""

    command: str
    told: str


@dataclass(frozen=True)
class Job:
    """The job at which the page's sliders stand at first."""

    images: float
    ms: float  # of one worker an image
    workers: int
    shards: Shards


@dataclass(frozen=True)
class LabData:
    """What the page shows; None was not measured.

    measured: what the forecast stands on. runs, laws: of `sluice lab scale`; funnel, recall_costs:
    as `sluice cascade` leaves them; made: by what, of each part that is there.
    """

    job: Job
    measured: Measured
    runs: pa.Table | None = None
    laws: pa.Table | None = None
    merge: pa.Table | None = None
    nearest: pa.Table | None = None
    growth: Growth | None = None
    funnel: pa.Table | None = None
    recall_costs: pa.Table | None = None
    claims: pa.Table | None = None
    recall: float = 0.9
    made: Mapping[str, Made] = field(default_factory=dict)

    @property
    def work(self) -> str:
        """Return what the workers do, in a word."""
        return WORDS_OF_WORK.get(self.measured.workload, "the work")


def read_lab_data(folders: Folders, job: Job, measured: Measured, recall: float) -> LabData:
    """Return what the outputs of the commands that ran hold.

    Raises StoreError where a file is damaged.
    """
    tables = {name: _left(path, command) for name, (command, path) in _files(folders).items()}
    return LabData(
        job=job,
        measured=measured,
        growth=read_growth(folders.growth),
        recall=recall,
        made={name: made_by(command, path) for name, (command, path) in _files(folders).items()},
        **{name: table for name, table in tables.items() if name != "growth"},
    )


def _files(folders: Folders) -> dict[str, tuple[str, Place]]:
    """Return the tables by their names in LabData: what makes each, and where it is left."""
    return {
        "runs": (SCALE, folders.scale / "runs.parquet"),
        "laws": (SCALE, folders.scale / "laws.parquet"),
        "merge": (MERGE, folders.merge / "merge.parquet"),
        "nearest": (NEAREST, folders.nearest / "nearest.parquet"),
        "growth": (GROWTH, folders.growth / "points.parquet"),
        "funnel": (CASCADE, folders.cascade / "funnel.parquet"),
        "recall_costs": (CASCADE, folders.cascade / "recall_costs.parquet"),
        "claims": (CLAIMS, folders.claims / "claims.parquet"),
    }


def made_by(command: str, path: Place) -> Made:
    """Return what made ``path``, as run.json beside it tells; else the day of the file alone."""
    if not path.exists():
        return Made(command, "not run yet")
    runs = [run for run in read_runs(path.parent) if run.ended]
    if not runs:
        day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        return Made(command, f"file of {day.isoformat()}, its machine was not kept")
    last = runs[-1]
    return Made(command, f"{last.ended[:10]}, Sluice {last.version}, {last.machine}")


def _left(path: Place, command: str) -> pa.Table | None:
    return read_parquet(path, f"run {command} again") if path.exists() else None
