"""What a job's last run took, kept beside its output: run.json, which no checksum covers."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
