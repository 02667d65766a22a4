"""A scaling experiment: its runs, each timed once, in a store that has a shard for each."""

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.folder import Place
from pipeline.core.forecast import PoolCosts
from pipeline.core.spread import ShardPlan
from pipeline.core.store import Store
from pipeline.lab.scaling.own_core import OnOwnCore
from pipeline.lab.scaling.run import RUN_COLUMNS, RunSettings, run_row
from pipeline.lab.scaling.settings import ScaleSettings
from pipeline.lab.scaling.simulator import calibrate, milliseconds, simulation_error
from pipeline.lab.scaling.work import Work
from pipeline.lab.scaling.workloads import Workload

READ_A_SOURCE = ("embed", "sign")
RunTimed = Callable[[ShardPlan, Work, int], pa.Table]


@dataclass(frozen=True)
class Calibrated:
    """What a pool costs, taken from the runs on few workers, and how far it is off on more."""

    workload: str
    costs: PoolCosts
    ms: float  # of one worker, an image: the mean of all shards
    errors: list[tuple[int, float]]  # workers, relative error of the simulated wall time


@dataclass(frozen=True)
class Experiment:
    """Run number i of ``runs`` is, once done, shard i of ``store``: a row a task."""

    store: Store
    runs: list[RunSettings]

    @classmethod
    def create(
        cls, root: Path, settings: ScaleSettings, workloads: Mapping[str, Workload], cores: int
    ) -> "Experiment":
        """Open the experiment at ``root``, making it where there is none.

        ``workloads`` are those of ``settings``; real work is run on up to ``cores``, which are then
        part of the store's name. Raises ConfigError where workers would be idle, StoreError where
        ``root`` was made with other settings.
        """
        runs = planned_runs(settings, cores)
        _refuse_idle_workers(runs, workloads)
        identity = asdict(settings)
        if set(workloads) != {"emulated"}:
            identity["cores"] = cores
        for workload in workloads.values():
            identity |= workload.decided_by
        return cls(Store.create(root, "scaling", identity), runs)

    @classmethod
    def of(cls, root: Place) -> "Experiment":
        """Return the finished experiment at ``root``; settings added since have their defaults.

        Raises InputError where there is none.
        """
        if not (root / "manifest.json").exists():
            raise InputError(
                f"there are no finished runs in {root}; run sluice lab scale with the same "
                "settings, or name its folder in scale.output"
            )
        store = Store.open(root, "scaling")
        cores = store.identity.get("cores", os.cpu_count() or 1)
        return cls(store, planned_runs(ScaleSettings.kept(store.identity), cores))

    def left(self, seed: int) -> list[tuple[int, RunSettings]]:
        """Return the numbered runs not yet done, in the order of ``shuffled``."""
        done = {entry.shard for entry in self.store.entries()}
        return [(number, run) for number, run in shuffled(self.runs, seed) if number not in done]

    def tasks(self, number: int) -> pa.Table:
        """Return the tasks of run ``number``. Raises StoreError where they lack a column."""
        table = self.store.read(number)
        lacking = [name for name in RUN_COLUMNS if name not in table.column_names]
        if lacking:
            raise StoreError(
                f"{self.store.root} holds runs without {', '.join(lacking)}, of another version; "
                "delete it and run sluice lab scale again"
            )
        return table

    def table(self) -> pa.Table:
        """Return a row a run, as ``run_row`` gives it."""
        rows = [run_row(run, self.tasks(number)) for number, run in enumerate(self.runs)]
        return pa.Table.from_pylist(rows)

    def calibrated(self) -> Calibrated:
        """Calibrate on the runs of one workload, of the lower half of worker counts or of both.

        It is the emulated one where that was run, else the first of real work. The errors are of
        the median run at each of the other counts, and the model's range is as wide as they are.
        """
        workload = "emulated" if any(run.emulated for run in self.runs) else self.runs[0].workload
        mine = [
            (run, self.tasks(number))
            for number, run in enumerate(self.runs)
            if run.workload == workload and run.mode != "single"
        ]
        counts = sorted({run.workers for run, _ in mine})
        known = counts[: (len(counts) + 1) // 2] if len(counts) > 2 else counts
        runs = [tasks for run, tasks in mine if run.workers in known]
        costs = calibrate(runs)
        errors = [(count, _error(costs, mine, count)) for count in counts if count not in known]
        far = [error for _, error in errors]
        costs = replace(costs, off=(min([0.0, *far]), max([0.0, *far])))
        planned = self.store.identity.get("source_images")
        if workload in READ_A_SOURCE and planned:
            costs = replace(costs, planning=0.0, planning_an_image=costs.planning / planned)
        return Calibrated(workload, costs, milliseconds(runs), errors)


def _error(costs: PoolCosts, runs: list[tuple[RunSettings, pa.Table]], count: int) -> float:
    return float(
        np.median([simulation_error(costs, t, count) for run, t in runs if run.workers == count])
    )


def planned_runs(scale: ScaleSettings, cores: int) -> list[RunSettings]:
    """Return all runs: repeats of every workload, mode and worker count, and of one thread.

    Real work is given to at most ``cores`` workers, and has no weak mode.
    """
    runs = []
    for repeat in range(scale.repeats):
        for workload in scale.workloads:
            fake = workload == "emulated"
            counts = [w for w in scale.workers if fake or w <= cores]
            single = RunSettings(workload, "single", 1, repeat, scale.images, fake)
            strong = [
                RunSettings(workload, "strong", w, repeat, scale.images, fake) for w in counts
            ]
            weak = [
                RunSettings(workload, "weak", w, repeat, w * scale.images_a_worker, fake)
                for w in counts
                if fake
            ]
            runs += [single, *strong, *weak]
    return runs


def shuffled(runs: list[RunSettings], seed: int) -> list[tuple[int, RunSettings]]:
    """Return the numbered runs in random order within each repeat, the same for a seed."""
    generator = random.Random(seed)
    return sorted(enumerate(runs), key=lambda item: (item[1].repeat, generator.random()))


def _refuse_idle_workers(runs: list[RunSettings], workloads: Mapping[str, Workload]) -> None:
    for name, workload in workloads.items():
        counts = [run.workers for run in runs if (run.workload, run.mode) == (name, "strong")]
        if not counts:
            raise ConfigError(
                f"{name} is real work, up to this machine's cores; scale.workers names only more"
            )
        if max(counts) > workload.shards:
            raise ConfigError(
                f"at most scale.images of {name} make {workload.shards} shards, too few for "
                f"{max(counts)} workers; raise it, make smaller shards, or lower scale.workers"
            )


def timed_run(workload: Workload, run: RunSettings, root: Path, run_timed: RunTimed) -> pa.Table:
    """Do one run, with a folder in ``root`` for what it writes; return its tasks.

    They are as ``run_phases`` takes them. ``run_timed`` does a work by its plan, or by one around
    it, with a number of workers and returns a row a shard. Raises InputError where there was
    nothing to do.
    """
    scratch = root / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        work = workload.work(run, scratch)
        if run.mode == "single":
            tasks = single_run(work)
        else:
            plan = work.plan if run.emulated else OnOwnCore(work.plan, scratch / "cores")
            tasks = run_timed(plan, work, run.workers)
        if not pc.sum(tasks["rows"]).as_py():
            raise InputError(f"{run.workload} found no image to work on; mend its source or store")
        return tasks
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def single_run(work: Work) -> pa.Table:
    """Time ``work`` done alone in this process, its source planned too; one task, no worker."""
    asked, cpu = time.time(), time.process_time()
    work.plan_source()
    began = time.time()
    rows, ended = work.alone(), time.time()
    facts = {"shard": 0, "rows": rows, "worker": "driver", "started": began, "ended": ended}
    facts |= {"received": ended, "merge": 0.0, "asked": asked, "planned": began, "began": began}
    facts |= {"finished": ended, "written": ended, "driver_cpu": time.process_time() - cpu}
    return pa.Table.from_pylist([facts])
