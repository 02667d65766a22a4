"""`sluice usage`: what stores took: time by stage, disk and memory, over all their sittings."""

from jobs.config import Config
from jobs.console import print_table
from jobs.sitting import recorded_runs
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.folder import Place, bytes_below
from pipeline.core.run_record import RECORD
from pipeline.core.store import Store

MIB = 2**20
STORE = "store.json"


def command(config: Config) -> None:
    """Print the time, disk and memory that FOLDERS took.

    A sitting that was killed left no record.
    """
    if not config.usage.folders:
        raise ConfigError("no folders: name outputs of jobs, as in sluice usage work/embeddings")
    print_usage(config.usage.folders)


def print_usage(folders: tuple[Place, ...]) -> None:
    """Print three tables: disk, time and peak memory. Raises InputError where one is no output."""
    wrong = [problem for folder in folders if (problem := _problem(folder))]
    if wrong:
        raise InputError("; ".join(wrong))
    print_table("disk", ("folder", "rows", "shards", "MiB"), [_disk(path) for path in folders])
    runs = [run for path in folders for run in enumerate(recorded_runs(path), 1)]
    times = [
        (run.job, sitting, run.images, stage, seconds)
        for sitting, run in runs
        for stage, seconds in run.seconds.items()
    ]
    print_table("time", ("job", "sitting", "images", "stage", "seconds"), times)
    memory = [
        (run.job, sitting, process, peak / MIB)
        for sitting, run in runs
        for process, peak in run.peak_rss.items()
    ]
    print_table("peak resident memory of one process", ("job", "sitting", "which", "MiB"), memory)


def _problem(folder: Place) -> str | None:
    if not folder.is_dir():
        return f"there is no folder {folder}; name the output of a job"
    if any((folder / name).exists() for name in (STORE, RECORD)):
        return None
    return f"{folder} is no job's output; name one, as in sluice usage work/embeddings"


def _disk(root: Place) -> tuple[str, int, int, float]:
    size = bytes_below(root) / MIB
    if not (root / STORE).exists():
        return str(root), 0, 0, size
    entries = Store.open(root).entries()
    return str(root), sum(entry.rows for entry in entries), len(entries), size
