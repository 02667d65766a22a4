"""What a command and all the processes it starts take: time and memory."""

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

EVERY = 0.5  # seconds between looks: each costs the kernel a walk over all pages


@dataclass(frozen=True)
class TreeUse:
    """Wall seconds and the most bytes of memory that the processes held together."""

    seconds: float
    peak: int


def run_watched(command: Sequence[str]) -> TreeUse:
    """Run ``command`` to its end; raises subprocess.CalledProcessError where it fails.

    Memory is the proportional set size: a page that several processes share counts once.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            peak[0] = max(peak[0], _together(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    ended.set()
    watcher.join()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return TreeUse(seconds, peak[0])


def _together(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_own(process) for process in processes)


def _own(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0
