"""`sluice bench merge`: the driver's certified merge beside FAISS's merges and a tree of merges."""

from statistics import median

import pyarrow as pa

from cluster.lab.tree_merge import time_tree
from jobs.console import console, print_arrow
from jobs.lab.config import BenchMergeConfig, LabConfig
from jobs.sitting import one_session
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.merge_timing import MergeTiming, time_merges

SHOWN = ["shards", "queries", "k", "certified", "faiss_heap", "tree", "times_heap", "outweighs_at"]


def command(config: LabConfig) -> None:
    """Time the driver's merge beside FAISS's and a tree of merges.

    The tree takes Ray: without workers it is left out.
    """
    wanted, record = config.bench_merge, RunRecord("bench merge", 0, config.ray.workers)
    with one_session(config.ray), record.stage("merges"):
        rows = [
            _row(wanted, shards, queries, k, by_tree=config.ray.workers > 0)
            for queries in wanted.queries
            for k in wanted.k
            for shards in wanted.shards
        ]
    table, output = pa.Table.from_pylist(rows), wanted.output.resolve()
    write_atomically(output / "merge.parquet", parquet_bytes(table))
    record.save(output)
    print_arrow("seconds, median of repeats", table.select(SHOWN))
    console.print(
        "outweighs_at: from that many workers on the driver's merge takes longer than their share "
        "of the search; the search is one measured shard times the shards"
    )


def _row(
    wanted: BenchMergeConfig, shards: int, queries: int, k: int, by_tree: bool
) -> dict[str, float | None]:
    timings = [
        time_merges(shards, queries, k, wanted.shard_rows, wanted.dimensions)
        for _ in range(wanted.repeats)
    ]
    names = ("certified", "faiss_heap", "faiss_merge", "search")
    middle = MergeTiming(
        shards, queries, k, *(median(getattr(t, name) for t in timings) for name in names)
    )
    times_heap = sorted(t.certified / t.faiss_heap for t in timings)
    trees = time_tree(shards, queries, k, wanted.fan_in, wanted.repeats) if by_tree else []
    facts: dict[str, float | None] = {"shards": shards, "queries": queries, "k": k}
    facts |= {name: getattr(middle, name) for name in names}
    facts |= {"tree": median(trees) if trees else None, "times_heap": median(times_heap)}
    facts |= {"times_heap_low": times_heap[0], "times_heap_high": times_heap[-1]}
    return facts | {"outweighs_at": middle.outweighs_at}
