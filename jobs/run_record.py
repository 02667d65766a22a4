"""What a job's last run took, kept beside its output: run.json, which no checksum covers."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.store import write_atomically


@dataclass
class RunRecord:
    """Seconds of wall time by stage, of one run over ``images`` images."""

    job: str
    images: int
    workers: int
    seconds: dict[str, float]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage ``name``."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @property
    def rate(self) -> str:
        """Images a second while the workers worked, start-up and drain left out."""
        seconds = self.seconds.get("workers at work")
        return f"{self.images / seconds:,.0f}" if seconds else "nothing to do"

    def add_pool(self, stats: pa.Table, began: float) -> None:
        """Split the time since ``began`` by the workers' own ``started`` and ``ended`` times.

        Start-up ends with the first shard's begin, drain begins with the last one's end. All are
        seconds since the epoch; the machines' clocks are taken to agree.
        """
        first, last = min(stats["started"].to_pylist()), max(stats["ended"].to_pylist())
        spans = {
            "start-up of workers": first - began,
            "workers at work": last - first,
            "drain": time.time() - last,
        }
        for name, value in spans.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def save(self, folder: Path) -> None:
        """Write run.json in ``folder``."""
        write_atomically(folder / "run.json", (json.dumps(asdict(self), indent=1) + "\n").encode())


def read_run(folder: Path) -> RunRecord | None:
    """Return the record in ``folder``, or None where there is none."""
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        return RunRecord(**record)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it") from error
