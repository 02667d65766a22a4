"""What drivers that were killed have left on this machine: processes of Ray, files of their own.

A driver holds the lock of a file in the temporary folder for as long as it lives, and writes there
which session of Ray it has started. Only a process with files of the session of a file that can be
locked is cleared: never another user's, a living job's, or one of a Ray that somebody else started.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PREFIX, SUFFIX = "sluice-ray-core-", ".log"
SESSION = "the logs of Ray are in {}/logs\n"
NAMED = re.compile(SESSION.format(r"(\S+/session_\S+)").encode())
END = 5.0  # seconds, at most, until what was killed is gone


@contextmanager
def drivers_file() -> Iterator[Path]:
    """Make this driver's file, locked for the length of the block."""
    handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX)
    try:
        # The lock is this description's alone: one made by dup would live on in Ray's processes.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(name)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)  # somebody may have tidied the temporary folder


def clear_leftovers() -> None:
    """End the processes of this user's dead drivers, and remove their files."""
    sessions = set()
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"):
        if _is_dead(path):
            with suppress(OSError):
                sessions |= {found.decode() for found in NAMED.findall(path.read_bytes())}
                path.unlink()
    left = [process for process in psutil.process_iter() if sessions and _is_of(process, sessions)]
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, END)


def _is_dead(path: Path) -> bool:
    with suppress(OSError), open(path, "rb") as file:  # OSError: its driver lives, or just left
        if os.fstat(file.fileno()).st_uid != os.getuid():
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_of(process: psutil.Process, sessions: set[str]) -> bool:
    """Return whether a process of this user has a log of a session open, as all of Ray's have."""
    with suppress(psutil.Error, OSError):
        if process.uids().real == os.getuid():
            paths = [file.path for file in process.open_files()]
            return any(
                path.startswith(f"{session}/logs/") for path in paths for session in sessions
            )
    return False
