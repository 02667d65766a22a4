"""What a worker tells of a shard it has done: one Arrow row, so that runs can be timed."""

import os
import resource
import socket
import time
from typing import Any

import pyarrow as pa


def shard_stats(shard: int, rows: int, started: float, **more: Any) -> pa.Table:
    """Return shard, rows, worker, started, ended (seconds since the epoch), peak_rss (bytes), more.

    worker names the process among those of all machines; peak_rss is the most memory it has ever
    held resident.
    """
    facts = {
        "shard": shard,
        "rows": rows,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "started": started,
        "ended": time.time(),
        "peak_rss": peak_rss(),
    }
    return pa.table({name: [value] for name, value in (facts | more).items()})


def peak_rss() -> int:
    """Return the most bytes this process has held resident so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
