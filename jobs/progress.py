"""How far a job is: a bar on a terminal, elsewhere, as in a file, a line every now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread

import pyarrow as pa
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jobs.console import errors

EVERY = 30.0  # seconds between lines
WINDOW = 600.0  # seconds over which the rate is taken


def _rate(task: Task) -> str:
    speed = task.speed
    if not speed and task.finished and task.elapsed:  # told of all its rows at once
        speed = task.completed / task.elapsed
    return f"{speed:,.0f} {task.fields['unit']}/s" if speed else ""


class _RateColumn(ProgressColumn):
    """Rows a second, found as the bar is drawn: rows are heard of far more often."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task))


COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    _RateColumn(),
    TimeElapsedColumn(),
    TextColumn("ETA"),
    TimeRemainingColumn(),
)


class Bar:
    """Counts the rows done of ``total``, shard by shard: one that is done again counts once.

    A ``total`` of 0 is unknown; it is foretold from the shards that are done, of ``shards``.
    """

    def __init__(self, what: str, total: int, unit: str, shards: int) -> None:
        self.shards, self.foretold = shards, not total
        self.progress = Progress(*COLUMNS, console=errors, speed_estimate_period=WINDOW)
        task = self.progress.add_task(what, total=total or None, unit=unit)
        self.task = self.progress.tasks[task]
        self._rows: dict[int, int] = {}
        self._whole: dict[int, int] = {}  # the rows of shards done
        self._lock = Lock()  # shards in hand are heard of by another thread than those done

    def heard(self, shard: int, rows: int) -> None:
        """Take in that ``rows`` of ``shard`` are done, which is still in hand."""
        with self._lock:
            self._set(shard, max(rows, self._rows.get(shard, 0)))

    def done(self, result: pa.Table) -> None:
        """Take in what a shard function returned of a shard that is done."""
        with self._lock:
            shard, rows = result["shard"][0].as_py(), result["rows"][0].as_py()
            self._whole[shard] = rows
            if self.foretold:
                # Not by update, which forgets the rate.
                self.task.total = self.shards * sum(self._whole.values()) // len(self._whole)
            self._set(shard, rows)

    def _set(self, shard: int, rows: int) -> None:
        more = rows - self._rows.get(shard, 0)
        self._rows[shard] = rows
        self.progress.update(self.task.id, advance=more)

    def line(self) -> str:
        """Return the bar in words: done, rate, time taken, time to come."""
        task = self.task
        total = f" of {task.total:,.0f}" if task.total else ""
        passed, to_come = task.elapsed or 0.0, task.time_remaining
        words = [f"{task.description}: {task.completed:,.0f}{total} {task.fields['unit']}"]
        words += [_rate(task) or "no rate yet", f"{timedelta(seconds=int(passed))} so far"]
        words += [] if to_come is None else [f"ETA {timedelta(seconds=int(to_come))}"]
        return ", ".join(words)


@contextmanager
def bar(what: str, total: int, unit: str, shards: int) -> Iterator[Bar]:
    """Show a bar while the block runs; where none can be drawn, a line every EVERY seconds."""
    made = Bar(what, total, unit, shards)
    if errors.is_terminal:
        with made.progress:
            yield made
        return
    ended = Event()
    telling = Thread(target=_lines, args=(made, ended), daemon=True)
    telling.start()
    try:
        yield made
    finally:
        ended.set()
        telling.join()
        _tell(made)


def _lines(made: Bar, ended: Event) -> None:
    while not ended.wait(EVERY):
        _tell(made)


def _tell(made: Bar) -> None:
    errors.print(made.line(), soft_wrap=True)
