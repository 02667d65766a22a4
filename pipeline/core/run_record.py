"""What a job's sittings took, kept beside its output: run.json, which no checksum covers."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.origin import VERSION, machine
from pipeline.core.shard_stats import peak_rss
from pipeline.core.steady_state import steady_state

RECORD = "run.json"


@dataclass
class RunRecord:
    """Seconds of wall time by stage and peak memory, of one sitting over ``images`` images."""

    job: str
    images: int
    workers: int  # that did a shard; 0: the driver alone
    seconds: dict[str, float] = field(default_factory=dict)
    peak_rss: dict[str, int] = field(default_factory=dict)  # bytes; the most of any one process
    worker_seconds: dict[str, float] = field(default_factory=dict)  # by part, of all workers
    steady_rate: float = 0.0  # rows a second while all workers of the last pool worked
    ended: str = ""  # UTC, ISO 8601
    version: str = ""
    machine: str = ""
    in_pool: bool = False  # by Ray's workers, who take time to start
    shards: int = 0  # done, those asked again too
    busy: float = 0.0  # seconds that workers were inside shards, of all of them
    wait: float = 0.0  # seconds between two shards of a worker, the median of the last pool
    stragglers: list[float] = field(default_factory=list)  # durations of a row / mean, 11 quantiles
    more_workers: dict[str, Any] = field(default_factory=dict)  # as pipeline.core.more_workers

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage ``name``."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @property
    def rate(self) -> str:
        """Images a second while the workers worked, start-up and drain left out."""
        seconds = self.seconds.get("workers at work")
        return f"{self.images / seconds:,.0f}" if seconds else "nothing to do"

    @property
    def steady(self) -> str:
        """Rows a second while all workers of the last pool worked."""
        return f"{self.steady_rate:,.0f}" if self.steady_rate else "nothing to do"

    @contextmanager
    def pool(self, workers: int = 0, of_ray: bool = True) -> Iterator[list[pa.Table]]:
        """Time a pool of ``workers``; the block puts the shards' stats in the list this gives it.

        The shards done count also where the block is broken off, and those workers that came.
        of_ray: whether they are Ray's.
        """
        began, stats = time.time(), list[pa.Table]()
        try:
            yield stats
        finally:
            if stats:
                columns = ["rows", "worker", "started", "ended", "peak_rss"]
                tasks = pa.concat_tables([s.select(columns) for s in stats])
                self._add_pool(tasks, began)
                # One that died and the one in its place were one.
                came = min(workers, len(pc.unique(tasks["worker"])))
                self.workers = max(self.workers, came)
                self.in_pool = self.in_pool or (of_ray and workers > 0)
                self._add_parts(stats)
                self._add_shards(tasks)

    def add_pools(self, other: "RunRecord") -> None:
        """Count in the pools of ``other``, the record of a part of this sitting's work."""
        for name in ("start-up of workers", "workers at work", "drain"):
            if name in other.seconds:
                self.seconds[name] = self.seconds.get(name, 0.0) + other.seconds[name]
        self.shards, self.busy = self.shards + other.shards, self.busy + other.busy
        self.in_pool = self.in_pool or other.in_pool

    def _add_shards(self, tasks: pa.Table) -> None:
        seconds = pc.subtract(tasks["ended"], tasks["started"]).to_numpy()
        rows = np.maximum(tasks["rows"].to_numpy(), 1)
        self.shards, self.busy = self.shards + len(rows), self.busy + float(seconds.sum())
        each = seconds / rows
        quantiles = np.quantile(each / max(each.mean(), 1e-9), np.linspace(0, 1, 11))
        self.stragglers = (quantiles / max(quantiles.mean(), 1e-9)).tolist()
        ordered = tasks.sort_by([("worker", "ascending"), ("started", "ascending")])
        names = ordered["worker"].to_numpy(zero_copy_only=False)
        waits = ordered["started"].to_numpy()[1:] - ordered["ended"].to_numpy()[:-1]
        mine = waits[names[1:] == names[:-1]]
        self.wait = max(0.0, float(np.median(mine))) if len(mine) else 0.0

    def _add_parts(self, stats: list[pa.Table]) -> None:
        for name in stats[0].column_names:
            part, found, _ = name.rpartition("_seconds")
            if found:
                spent = sum(table[name][0].as_py() for table in stats)
                self.worker_seconds[part] = self.worker_seconds.get(part, 0.0) + spent

    def _add_pool(self, stats: pa.Table, began: float) -> None:
        """Split the time since ``began`` by the workers' own ``started`` and ``ended`` times.

        Start-up ends with the first shard's begin, drain begins with the last one's end. All are
        seconds since the epoch; the machines' clocks are taken to agree.
        """
        self.steady_rate = steady_state(stats).rate
        peaks = stats.sort_by("ended")["peak_rss"].to_pylist()
        early = peaks[: max(1, len(peaks) // 10)]
        for name, value in (("worker, first tenth of the shards", early), ("worker", peaks)):
            self.peak_rss[name] = max(self.peak_rss.get(name, 0), *value)
        first, last = min(stats["started"].to_pylist()), max(stats["ended"].to_pylist())
        spans = {
            "start-up of workers": first - began,
            "workers at work": last - first,
            "drain": time.time() - last,
        }
        for name, value in spans.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def save(self, folder: Place, earlier: Sequence["RunRecord"] = ()) -> None:
        """Write run.json in ``folder``: the sittings before this one, ``earlier``, and this one."""
        self.peak_rss["driver"] = peak_rss()
        self.ended = datetime.now(UTC).isoformat(timespec="seconds")
        self.version, self.machine = VERSION, machine()
        text = json.dumps({"sittings": [asdict(run) for run in (*earlier, self)]}, indent=1)
        write_atomically(folder / RECORD, (text + "\n").encode())


def read_runs(folder: Place) -> list[RunRecord]:
    """Return the sittings recorded in ``folder``, in their order; StoreError if it is damaged."""
    path = folder / RECORD
    if not path.exists():
        return []
    try:
        sittings: list[dict[str, Any]] = json.loads(path.read_bytes())["sittings"]
        return [RunRecord(**record) for record in sittings]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is damaged ({error}): the times and the memory in it are lost; delete it"
        ) from error
