"""Ray metrics of the shards done: images, bytes, quarantined, seconds. Scraped by Prometheus."""

import pyarrow as pa
from ray.util.metrics import Counter, Histogram

SECONDS = [0.1, 0.3, 1, 3, 10, 30, 100, 300]  # bounds of the histogram's buckets
COUNTS = {"rows": "sluice_images", "bytes": "sluice_bytes", "quarantined": "sluice_quarantined"}


class ShardMetrics:
    """The counters of one worker, for one stage; ``count`` takes what a shard function returns."""

    def __init__(self, stage: str) -> None:
        self.stage = {"stage": stage}
        self.counters = {
            column: Counter(name, f"{column} of the shards done", ("stage",))
            for column, name in COUNTS.items()
        }
        self.seconds = Histogram(
            "sluice_shard_seconds", "seconds a shard took", boundaries=SECONDS, tag_keys=("stage",)
        )

    def count(self, stats: pa.Table) -> None:
        """Add the columns of a shard's stats that there are."""
        for column, counter in self.counters.items():
            value = sum(stats[column].to_pylist()) if column in stats.column_names else 0
            if value > 0:  # Ray refuses to count nothing
                counter.inc(value, tags=self.stage)
        if {"started", "ended"} <= set(stats.column_names):
            for began, ended in zip(stats["started"], stats["ended"], strict=True):
                self.seconds.observe(max(0.0, ended.as_py() - began.as_py()), tags=self.stage)
