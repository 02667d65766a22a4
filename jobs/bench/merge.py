"""`sluice bench-merge`: the driver's certified merge beside FAISS's merges and a tree of merges."""

from statistics import median

import click
import pyarrow as pa

from cluster.lab.tree_merge import make_parts, merge_by_tree
from cluster.session import ray_session
from jobs.cli import with_config_of
from jobs.console import console, print_table
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.merge_timing import MergeTiming, time_merges
from pipeline.search.merge import SPARE

TREE_BYTES = 1_000_000_000  # of parts the object store is asked to hold

SHOWN = ("shards", "queries", "k", "certified", "faiss_heap", "tree", "times_heap", "outweighs_at")


@click.command()
@with_config_of(LabConfig)
def command(config: LabConfig) -> None:
    """Time merging merge.shards x queries x k; writes merge.parquet in its output."""
    bench_merge(config)


def bench_merge(config: LabConfig) -> None:
    """Run the benchmark: the median of the repeats for each combination."""
    bench, rows = config.merge, []
    record = RunRecord("bench-merge", 0, config.ray.workers)
    with ray_session(config.ray.workers, config.ray.address), record.stage("merges"):
        for queries in bench.queries:
            for k in bench.k:
                for shards in bench.shards:
                    rows.append(_row(config, shards, queries, k))
    output = bench.output.resolve()
    table = pa.Table.from_pylist(rows)
    write_atomically(output / "merge.parquet", parquet_bytes(table))
    record.save(output)
    print_table("seconds, median of repeats", SHOWN, [[r[name] for name in SHOWN] for r in rows])
    console.print(
        "outweighs_at: from that many workers on the driver's merge takes longer than their share "
        "of the search; the search is one measured shard times the shards"
    )


def _row(config: LabConfig, shards: int, queries: int, k: int) -> dict[str, float | None]:
    bench = config.merge
    timings = [
        time_merges(shards, queries, k, bench.shard_rows, bench.dimensions)
        for _ in range(bench.repeats)
    ]
    names = ("certified", "faiss_heap", "faiss_merge", "search")
    middle = MergeTiming(
        shards, queries, k, *(median(getattr(t, name) for t in timings) for name in names)
    )
    times_heap = sorted(t.certified / t.faiss_heap for t in timings)
    tree = None
    if shards * queries * (k + SPARE) * 16 <= TREE_BYTES:
        parts = make_parts(shards, queries, k + SPARE)
        trees = [merge_by_tree(parts, k, bench.fan_in).seconds for _ in range(bench.repeats)]
        tree = median(trees)
    facts: dict[str, float | None] = {"shards": shards, "queries": queries, "k": k}
    facts |= {name: getattr(middle, name) for name in names}
    facts |= {"tree": tree, "times_heap": median(times_heap)}
    facts |= {"times_heap_low": times_heap[0], "times_heap_high": times_heap[-1]}
    return facts | {"outweighs_at": middle.outweighs_at}
