"""What attempts at a shard leave behind where they die: which rows they had begun."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.objects import ObjectPath
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
            self.past = _past(_read(path))
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise path_error(error, path) or error from error
        self.note("attempt")

    def note(self, word: str, row: int = 0, told: str = "") -> None:
        """Add a line to the log; of several threads too. A full disk is told by the shard."""
        with suppress(OSError):
            os.write(self._log, _line(word, row, told).encode(errors="replace"))

    def close(self) -> None:
        os.close(self._log)


class RemoteAttempt:
    """One attempt at a shard of a store on an object store, where a log cannot be appended to.

    It is put anew for what is rare. Which images were being decoded is not told, so that a second
    death has every image tried. Raises StoreError where the log cannot be put.
    """

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._log, self._writing = path, _line("attempt", 0, ""), threading.Lock()
        self.past = Past()
        if not path.put(self._log.encode()):  # one request for a first attempt
            self._log = _read(path)
            self.past = _past(self._log)
            self.note("attempt")

    def note(self, word: str, row: int = 0, told: str = "") -> None:
        """Add a line to the log; of several threads too. Raises StoreError."""
        if word not in ("begun", "ended"):
            with self._writing:
                self._log += _line(word, row, told)
                write_atomically(self._path, self._log.encode())

    def close(self) -> None:
        """Leave the log as it is."""


@dataclass(frozen=True)
class Attempts:
    """The logs of the attempts at a store's shards, in ``folder``."""

    folder: Place

    def begin(self, shard: int) -> "Attempt | RemoteAttempt":
        """Begin an attempt. Raises StoreError where nothing can be written."""
        path = self._path(shard)
        return RemoteAttempt(path) if isinstance(path, ObjectPath) else Attempt(path)

    def forget(self, shard: int) -> None:
        """Remove the log of a shard that is written."""
        self._path(shard).unlink(missing_ok=True)

    def end(self) -> None:
        """Remove the folder where no log is left, once no shard is at work that may begin one."""
        if not isinstance(self.folder, ObjectPath):
            with suppress(OSError):  # others are there, or it never was
                self.folder.rmdir()

    def shards(self) -> list[int]:
        """Return the shards with a log."""
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]

    def new_run(self, shard: int) -> None:
        """Note in a shard's log that a run ended before."""
        path, line = self._path(shard), b"\nrun 0 \n"  # the line before may be cut
        with suppress(FileNotFoundError):
            if isinstance(path, ObjectPath):
                write_atomically(path, path.read_bytes() + line)
                return
            with open(path, "ab") as log:
                log.write(line)

    def _path(self, shard: int) -> Place:
        return self.folder / f"{shard:06d}"


def _past(log: str) -> Past:
    past = Past()
    for line in log.splitlines():
        word, _, rest = line.partition(" ")
        row, _, told = rest.partition(" ")
        with suppress(ValueError):  # a cut line
            past.take(word, int(row), told)
    return past


def _read(path: Place) -> str:
    with suppress(FileNotFoundError):
        return path.read_bytes().decode(errors="replace")
    return ""


def _line(word: str, row: int, told: str) -> str:
    return f"{word} {row} {' '.join(told.split())}\n"
