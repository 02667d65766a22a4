"""One sitting of a job: where its shards are done, its bar, its times, and what it leaves."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from jobs.config import RayConfig
from jobs.console import console, warn
from jobs.progress import bar
from pipeline.core.errors import StoreError
from pipeline.core.folder import Place
from pipeline.core.more_workers import more_workers, more_workers_told
from pipeline.core.paths import may_write, refuse_unwritable
from pipeline.core.progress import Heard
from pipeline.core.run_record import RunRecord, read_runs
from pipeline.core.spread import ShardPlan, Spread, in_process

if TYPE_CHECKING:
    from pipeline.core.processes import Processes

T = TypeVar("T")
_KEEPING: list[ExitStack] = []  # of the blocks that keep workers, the outermost first
_PROCESSES: "dict[ExitStack, Processes]" = {}  # by what keeps them


class Sitting:
    """Spreads plans over ``ray.workers`` workers; with 0 of them all is done in this process.

    They start with the first plan that has shards to do: Ray's, or for a small job processes of
    this machine. Where ``output`` is given and there were images to do, run.json is kept there on
    the way out: a ``further`` sitting is added to those before it, also where it was broken off;
    any other replaces them once it has ended well.
    """

    def __init__(
        self,
        job: str,
        images: int,
        ray: RayConfig,
        output: Place | None = None,
        further: bool = False,
        on_gpu: bool = False,
    ) -> None:
        self.record = RunRecord(job, images, 0)
        self.ray = ray
        self.output = output
        self.further = further
        self.on_gpu = on_gpu  # whether a worker needs its share of a GPU
        self._open = ExitStack()

    def __enter__(self) -> "Sitting":
        if self.output and not self.further:
            refuse_unwritable(self.output)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)
        if not self.output or (kind and not self.further):
            return
        if not may_write(self.output) and self.output.exists():
            if kind is None:
                warn(f"{self.output} cannot be written to, and nothing had to be")
        elif self.record.images:
            self.record.more_workers = more_workers(self.record)
            self.record.save(self.output, recorded_runs(self.output) if self.further else ())

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time the block as stage ``name``."""
        return self.record.stage(name)

    def spread(self, plan: ShardPlan, shards: Sequence[int]) -> Iterator[pa.Table]:
        """Yield what ``plan`` makes of each shard, in the order of finishing, under a bar."""
        return self.spreading(self.record.images)(plan, shards)

    def spreading(self, total: int, unit: str = "img", *, here: bool = False) -> Spread:
        """Return a spreader whose bar counts ``total`` of ``unit``, 0 where that is unknown.

        They are the answers' ``rows``, and those told of before the answer is there.
        ``here``: in this process, whatever the workers.
        """

        def spread(plan: ShardPlan, shards: Sequence[int]) -> Generator[pa.Table, None, None]:
            if not shards:
                return
            workers = 0 if here else self.ray.workers
            by_ray = self.on_gpu or not self.ray.is_small(self.record.images)
            with (
                self.record.pool(workers, by_ray) as stats,
                bar(plan.name, total, unit, len(shards)) as shown,
            ):
                for table in self._results(plan, shards, workers, by_ray, shown.heard):
                    shown.done(table)
                    stats.append(table)
                    yield table

        def kept(plan: ShardPlan, shards: Sequence[int]) -> Iterator[pa.Table]:
            # Broken off, it is ended with the sitting: before what holds the sitting lets go.
            return self._open.enter_context(closing(spread(plan, shards)))

        return kept

    def fill(self, plan: ShardPlan, shards: Sequence[int]) -> None:
        """Have ``plan`` write ``shards`` into its store."""
        for _ in self.spread(plan, shards):
            pass

    def near_gpu(self, backend: str, work: Callable[[], T]) -> T:
        """Return ``work()``, by a worker with a GPU where ``backend`` is "cuda" and none is here.

        The job's own node is often one without. Raises what ``work`` raises, and ConfigError where
        no node has a GPU.
        """
        if backend != "cuda" or not self.ray.workers or _has_cuda():
            return work()
        from cluster.gpu_call import call_on_worker
        from cluster.session import gpu_share

        self._connect()
        return call_on_worker(work, gpu_share(1))

    def _results(
        self, plan: ShardPlan, shards: Sequence[int], workers: int, by_ray: bool, heard: Heard
    ) -> Iterator[pa.Table]:
        if not workers:
            return in_process(plan, shards, heard)
        if not by_ray:
            return self._processes().spread(plan, shards, heard)
        from cluster.session import gpu_share
        from cluster.shard_map import map_shards

        self._connect()
        gpus = gpu_share(workers) if self.on_gpu else 0.0
        return map_shards(plan, shards, workers, gpus, heard)

    def _connect(self) -> None:
        self._until().enter_context(one_session(self.ray))

    def _processes(self) -> "Processes":
        from pipeline.core.processes import Processes  # a query of a few seconds needs none

        until = self._until()
        if until not in _PROCESSES:
            _PROCESSES[until] = until.enter_context(closing(Processes(self.ray.workers)))
            until.callback(_PROCESSES.pop, until)
        return _PROCESSES[until]

    def _until(self) -> ExitStack:
        """Return what keeps the workers: the outermost block that does, else this sitting."""
        return _KEEPING[0] if _KEEPING else self._open


def print_more_workers(record: RunRecord) -> None:
    """Print what more workers would have done to a job, in two lines, where that is worth it."""
    for line in more_workers_told(record):
        console.print(line, soft_wrap=True)


def recorded_runs(folder: Place) -> list[RunRecord]:
    """Return the sittings recorded in ``folder``; none, with a warning, if the record is damaged.

    Only times are in it: no job need stop for them.
    """
    try:
        return read_runs(folder)
    except StoreError as error:
        warn(str(error))
        return []


@contextmanager
def kept_session() -> Iterator[None]:
    """Keep the workers that a sitting of the block starts, if any does, for those after it."""
    with ExitStack() as until:
        _KEEPING.append(until)
        try:
            yield
        finally:
            _KEEPING.pop()


@contextmanager
def one_session(ray: RayConfig) -> Iterator[None]:
    """Keep one Ray for all sittings of the block: starting it takes seconds."""
    if not ray.workers:
        yield
        return
    from cluster.session import cpus, ray_session

    before = cpus()
    with ray_session(ray.workers, ray.address):
        if before is None and (there := cpus() or 0) < ray.workers:
            warn(
                f"ray.workers is {ray.workers}, and the cluster has {there} CPUs: {there} workers "
                "work, and more once it has more"
            )
        yield


def _has_cuda() -> bool:
    from pipeline.embedding.backends import has_cuda

    return has_cuda()
