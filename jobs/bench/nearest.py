"""`sluice bench-nearest`: the latency of finding the one closest point, by worker count."""

import time

import click
import numpy as np
import pyarrow as pa

from cluster.lab.nearest_pool import NearestPool
from cluster.session import ray_session
from jobs.cli import with_config_of
from jobs.console import console, print_table
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.search.exact_topk import shard_topk
from pipeline.search.merge import SPARE

PARTS = ("latency", "scheduling", "slowest_shard", "merge")


@click.command()
@with_config_of(LabConfig)
def command(config: LabConfig) -> None:
    """Ask for one closest point of nearest.points, with each of nearest.workers."""
    bench_nearest(config)


def bench_nearest(config: LabConfig) -> None:
    """Run the benchmark: the median latency of the queries, and what it is made of."""
    import faiss

    bench, record = config.nearest, RunRecord("bench-nearest", 0, config.ray.workers)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(bench.points + bench.queries, bench.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked, vectors = vectors[: bench.queries, None], vectors[bench.queries :]
    faiss.omp_set_num_threads(1)
    alone = []
    for query in asked:
        began = time.perf_counter()
        shard_topk(query, np.arange(len(vectors)), vectors, 1 + SPARE, 0)
        alone.append(time.perf_counter() - began)
    single = float(np.median(alone)) * 1000
    rows = [
        {"workers": 0, "latency": single, "scheduling": 0.0, "slowest_shard": single, "merge": 0.0}
    ]
    with ray_session(max(bench.workers), config.ray.address), record.stage("queries"):
        for workers in bench.workers:
            pool = NearestPool(vectors, workers)
            pool.ask(asked[0])
            answers = [pool.ask(query) for query in asked]
            times = {n: float(np.median([getattr(a, n) for a in answers])) * 1000 for n in PARTS}
            rows.append({"workers": workers, **times})
            pool.close()
    table, output = pa.Table.from_pylist(rows), bench.output.resolve()
    write_atomically(output / "nearest.parquet", parquet_bytes(table))
    record.save(output)
    title = f"ms, median of {bench.queries} queries over {bench.points} points; 0: no Ray"
    print_table(title, table.column_names, [tuple(row.values()) for row in rows])
    console.print("the floor of the latency is scheduling + the slowest shard + the merge")
