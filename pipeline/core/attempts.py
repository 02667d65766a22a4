"""What attempts at a shard leave behind where they die: which rows they had begun."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.paths import path_error


@dataclass
class Past:
    """What the attempts at a shard that never finished tell. Rows are named by their ids."""

    attempts: int = 0  # of all runs
    attempts_now: int = 0  # of the run that goes on
    begun: set[int] = field(default_factory=set)  # and not ended
    late: dict[int, list[float]] = field(default_factory=dict)  # the seconds each time allowed
    refused: dict[int, str] = field(default_factory=dict)  # reason: detail

    def take(self, word: str, row: int, told: str) -> None:
        """Add one line of a log."""
        if word == "run":
            self.attempts_now = 0
        elif word == "attempt":
            self.attempts, self.attempts_now = self.attempts + 1, self.attempts_now + 1
        elif word == "begun":
            self.begun.add(row)
        elif word == "ended":
            self.begun.discard(row)
        elif word == "late":
            self.late.setdefault(row, []).append(float(told))
        elif word == "refused":
            self.refused[row] = told


class Attempt:
    """One attempt at a shard: its log outlives the process, and is gone once the shard is written.

    The kernel keeps what was written whatever ends the process, so no line need be flushed.
    Raises StoreError where the log cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            self.past = _past(path)
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise path_error(error, path) or error from error
        self.note("attempt")

    def note(self, word: str, row: int = 0, told: str = "") -> None:
        """Add a line to the log; of several threads too. A full disk is told by the shard."""
        line = f"{word} {row} {' '.join(told.split())}\n"
        with suppress(OSError):
            os.write(self._log, line.encode(errors="replace"))

    def close(self) -> None:
        os.close(self._log)


@dataclass(frozen=True)
class Attempts:
    """The logs of the attempts at a store's shards, in ``folder``."""

    folder: Path

    def begin(self, shard: int) -> Attempt:
        """Begin an attempt. Raises StoreError where nothing can be written."""
        return Attempt(self._path(shard))

    def forget(self, shard: int) -> None:
        """Remove the log of a shard that is written, and the folder with the last one."""
        self._path(shard).unlink(missing_ok=True)
        with suppress(OSError):  # others are there, or it never was
            self.folder.rmdir()

    def shards(self) -> list[int]:
        """Return the shards with a log."""
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]

    def new_run(self, shard: int) -> None:
        """Note in a shard's log that a run ended before."""
        with suppress(FileNotFoundError), open(self._path(shard), "ab") as log:
            log.write(b"\nrun 0 \n")  # the line before may be cut

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}"


def _past(path: Path) -> Past:
    past = Past()
    with suppress(FileNotFoundError):
        for line in path.read_text(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            row, _, told = rest.partition(" ")
            with suppress(ValueError):  # a cut line
                past.take(word, int(row), told)
    return past
