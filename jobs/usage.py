"""`sluice usage`: what stores took: time by stage, disk and memory, over all their sittings."""

from pathlib import Path

from jobs.config import Config
from jobs.console import print_table
from pipeline.core.errors import ConfigError
from pipeline.core.run_record import RunRecord, read_runs
from pipeline.core.store import Store

MIB = 2**20


def command(config: Config) -> None:
    """Print the time, disk and memory that FOLDERS took.

    A sitting that was killed left no record.
    """
    if not config.usage.folders:
        raise ConfigError("no folders: name outputs of jobs, as in sluice usage work/embeddings")
    print_usage(config.usage.folders)


def print_usage(folders: tuple[Path, ...]) -> None:
    """Print three tables: disk, time and peak memory."""
    print_table("disk", ("folder", "images", "shards", "MiB"), [_disk(path) for path in folders])
    runs = [(path, run) for path in folders for run in read_runs(path)]
    times = [
        (run.job, _sitting(folders, path, run), run.images, stage, seconds)
        for path, run in runs
        for stage, seconds in run.seconds.items()
    ]
    print_table("time", ("job", "sitting", "images", "stage", "seconds"), times)
    memory = [
        (run.job, _sitting(folders, path, run), process, peak / MIB)
        for path, run in runs
        for process, peak in run.peak_rss.items()
    ]
    print_table("peak resident memory of one process", ("job", "sitting", "which", "MiB"), memory)


def _disk(root: Path) -> tuple[str, int, int, float]:
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / MIB
    if not (root / "store.json").exists():
        return str(root), 0, 0, size
    entries = Store.open(root).entries()
    return str(root), sum(entry.rows for entry in entries), len(entries), size


def _sitting(folders: tuple[Path, ...], path: Path, run: RunRecord) -> int:
    return read_runs(path).index(run) + 1
