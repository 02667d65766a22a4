"""Where and by what something was made: the version of Sluice, and the machine."""

import os
import platform
from functools import cache
from pathlib import Path

VERSION = "0.1.0"
CPUS = Path("/proc/cpuinfo")  # Linux's; elsewhere the architecture is told


@cache
def machine() -> str:
    """Return the processor's name, as the system tells it, and how many cores there are."""
    lines = CPUS.read_text(errors="replace").splitlines() if CPUS.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = os.cpu_count() or 1
    cpu = next(named, platform.machine())
    return f"{cpu}, {cores} core{'s' if cores > 1 else ''}"
