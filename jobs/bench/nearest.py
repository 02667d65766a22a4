"""`sluice bench nearest`: the latency of finding the one closest point, by worker count."""

import pyarrow as pa

from cluster.lab.nearest_pool import nearest_alone, nearest_by_pool, random_points
from jobs.console import console, print_arrow
from jobs.lab.config import LabConfig
from jobs.sitting import one_session
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes

SHOWN = ["workers", "latency", "scheduling", "slowest_shard", "merge", "share", "floor"]


def command(config: LabConfig) -> None:
    """Time finding the one closest of random points, by worker count."""
    wanted, record = config.bench_nearest, RunRecord("bench nearest", 0, config.ray.workers)
    queries, points = random_points(wanted.queries, wanted.points, wanted.dimensions)
    rows = [nearest_alone(points, queries)]
    ray = config.ray.model_copy(update={"workers": max(wanted.workers)})
    with one_session(ray), record.stage("queries"):
        rows += [nearest_by_pool(points, queries, workers) for workers in wanted.workers]
    table, output = pa.Table.from_pylist(rows), wanted.output.resolve()
    write_atomically(output / "nearest.parquet", parquet_bytes(table))
    record.save(output)
    title = f"ms, of {wanted.queries:,} queries over {wanted.points:,} points; 0 workers: no Ray"
    print_arrow(title, table.select(SHOWN))
    console.print(
        "latency = scheduling + the slowest shard + the merge; share: a scan of one worker's share "
        "while nothing else runs; floor: the latency where there is nothing to scan"
    )
